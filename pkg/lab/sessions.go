package lab

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// sessionObj is the SessionManager: one user, a password, and nothing else that
// logs in.
type sessionObj struct {
	*simulator.SessionManager
	l *Lab
}

// validLogin compares without telling by its time how much was right.
func (l *Lab) validLogin(req *types.Login) bool {
	user := subtle.ConstantTimeCompare([]byte(strings.ToLower(req.UserName)), []byte(strings.ToLower(l.cfg.User)))
	pass := subtle.ConstantTimeCompare([]byte(req.Password), []byte(l.cfg.Password))
	return user&pass == 1
}

// LoginByToken is refused: the simulator takes any assertion, signed or not.
func (s *sessionObj) LoginByToken(*simulator.Context, *types.LoginByToken) soap.HasFault {
	return &methods.LoginByTokenBody{Fault_: simulator.Fault("the lab has no single sign-on", new(types.InvalidLogin))}
}

// LoginExtensionByCertificate is refused: no extension is registered.
func (s *sessionObj) LoginExtensionByCertificate(*simulator.Context, *types.LoginExtensionByCertificate) soap.HasFault {
	return &methods.LoginExtensionByCertificateBody{Fault_: simulator.Fault("no such extension", new(types.InvalidLogin))}
}

// AcquireGenericServiceTicket gives a ticket for one transfer of a datastore
// file.
func (s *sessionObj) AcquireGenericServiceTicket(*simulator.Context, *types.AcquireGenericServiceTicket) soap.HasFault {
	return &methods.AcquireGenericServiceTicketBody{Res: &types.AcquireGenericServiceTicketResponse{
		Returnval: types.SessionManagerGenericServiceTicket{Id: s.l.door.issue(), HostName: s.ServiceHostName, SslThumbprint: s.l.print}}}
}

// ticketBook holds tickets that were not used yet.
type ticketBook struct {
	mu   sync.Mutex
	ends map[string]time.Time
}

// ticketLife is how long a ticket waits for its use; vSphere's live two minutes.
const ticketLife = 2 * time.Minute

func (b *ticketBook) issue() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ends == nil {
		b.ends = map[string]time.Time{}
	}
	for id, end := range b.ends {
		if time.Now().After(end) {
			delete(b.ends, id)
		}
	}
	id := uuid.NewString()
	b.ends[id] = time.Now().Add(ticketLife)
	return id
}

// use takes a ticket: it is good once.
func (b *ticketBook) use(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	end, ok := b.ends[id]
	delete(b.ends, id)
	return ok && time.Now().Before(end)
}

// sessions lists who is logged in.
func (l *Lab) sessions() []types.UserSession {
	// A session's view of its manager has the list.
	s := &simulator.Session{Registry: simulator.NewRegistry(), Map: l.svc.Context.Map}
	if m, ok := s.Get(l.svc.Context.Map.SessionManager().Self).(*simulator.SessionManager); ok {
		return m.SessionList
	}
	return nil
}

// admitted tells whether an HTTP request may touch datastore files: with a
// session's cookie, or a ticket.
func (l *Lab) admitted(r *http.Request) bool {
	if c, err := r.Cookie("vmware_cgi_ticket"); err == nil && l.door.use(c.Value) {
		return true
	}
	c, err := r.Cookie(soap.SessionCookieName)
	if err == nil {
		id := strings.Trim(c.Value, `"`)
		for _, s := range l.sessions() {
			if subtle.ConstantTimeCompare([]byte(s.Key), []byte(id)) == 1 {
				return true
			}
		}
	}
	user, pass, ok := r.BasicAuth() // as ESXi takes it
	return ok && l.validLogin(&types.Login{UserName: user, Password: pass})
}
