// Package qemutest boots a VM with package qemu for tier-2 tests, with the
// serial ports in memory and expectations on the console.
//
//	vm := qemutest.Boot(t, qemutest.Options{ISO: iso, Console: 2, GuestInfo: keys})
//	vm.Expect("tether", time.Minute) // regular expression on ttyS2
//	conn := vm.Line(0)               // ttyS0 as a net.Conn
//	vm.WaitOff(time.Minute)          // the guest powered off
//
// On failure the console's text is in the test's log; the VM is killed at the
// end of the test.
//
// Start reading at boot.go.
package qemutest
