package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// TestEveryCallWithNothing calls every method of every object with an empty
// request. Each must be answered, and the lab must work as before.
func TestEveryCallWithNothing(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("vm")
		calls := 0
		for _, obj := range r.l.context(nil).Map.AllReference("") {
			for name, rt := range callsOf(r.l, obj) {
				req := reflect.New(rt)
				req.Elem().FieldByName("This").Set(reflect.ValueOf(obj.Reference()))
				ctx, cancel := context.WithTimeout(r.ctx, patience)
				if err := rawCall(ctx, r, name, req.Interface()); err != nil {
					t.Errorf("%s of %s: %v", name, obj.Reference(), err)
				}
				cancel()
				calls++
			}
		}
		if calls < 150 {
			t.Errorf("only %d calls", calls)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.read(vm.Reference(), "name")
			r.inventory()
			r.wait(r.vms.CreateVM(r.ctx, r.containerSpec("after"), r.pool, nil))
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("the lab hangs")
		}
	})
}

// TestLicenseForNobody: the license must be known for the simulator to look
// further, so that TestEveryCallWithNothing comes there by chance only.
func TestLicenseForNobody(t *testing.T) {
	r := newRig(t, Config{Mode: ModeVCenter})
	lm := r.c.ServiceContent.LicenseManager
	_, err := methods.AddLicense(r.ctx, r.c.Client, &types.AddLicense{This: *lm, LicenseKey: "A"})
	r.must(err)
	_, err = methods.UpdateAssignedLicense(r.ctx, r.c.Client, &types.UpdateAssignedLicense{
		This: types.ManagedObjectReference{Type: "LicenseAssignmentManager", Value: "LicenseAssignmentManager"}, Entity: "nobody", LicenseKey: "A"})
	faultIs[*types.NotSupported](t, err)
}

// callsOf lists the SOAP methods of an object by name, but for those that end
// sessions or objects.
func callsOf(l *Lab, obj mo.Reference) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	var h any = obj
	if w := l.wrap(obj); w != nil {
		h = w
	}
	known := types.TypeFunc()
	ty := reflect.TypeOf(h)
	for i := range ty.NumMethod() {
		name := ty.Method(i).Name
		ends := false
		for _, s := range []string{"Destroy", "Log", "Unregister", "WaitForUpdates", "Terminate", "Disconnect", "EnterMaintenance"} {
			ends = ends || strings.Contains(name, s)
		}
		for _, n := range []string{strings.Replace(name, "Task", "_Task", 1), name} {
			rt, ok := known(n)
			if !ok || rt.Kind() != reflect.Struct || ends {
				continue
			}
			if f, ok := rt.FieldByName("This"); ok && f.Type == reflect.TypeFor[types.ManagedObjectReference]() {
				out[n] = rt
				break
			}
		}
	}
	return out
}

// rawCall sends a request as it is: an answer of any kind is fine.
func rawCall(ctx context.Context, r *rig, name string, req any) error {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>`)
	e := xml.NewEncoder(&b)
	if err := e.EncodeElement(req, xml.StartElement{Name: xml.Name{Space: "urn:vim25", Local: name}}); err != nil {
		return nil // of a type without a wire form: no call
	}
	if err := e.Flush(); err != nil {
		return err
	}
	b.WriteString(`</soapenv:Body></soapenv:Envelope>`)
	q, err := http.NewRequestWithContext(ctx, "POST", r.l.URL().String(), &b)
	if err != nil {
		return err
	}
	res, err := r.c.Client.Client.Client.Do(q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if len(out) == 0 {
		return errors.New("empty answer")
	}
	return nil
}
