// Command hello is the program of the lab's hello-world image: it says that a
// container ran, and how it came to that.
package main

import (
	"fmt"
	"os"
)

const message = `
Hello from vic!
If you can read this, a container ran on vSphere, as a virtual machine of its own.

How it got here:
 1. Your Docker client asked the Virtual Container Host (VCH), an appliance VM.
 2. The VCH fetched this image, made a disk of it and, over the vSphere API,
    created a VM for the container: a containerVM.
 3. vSphere powered the containerVM on. It booted a small Linux from an ISO image,
    whose first process, tether, mounted the disk and started this program.
 4. tether sent what you are reading down the VM's serial line to the VCH, which
    passed it on to your client.

Now try something bigger:
 $ docker run -it busybox sh
and look at it in the vSphere client while it runs.

`

func main() {
	if _, err := fmt.Print(message[1:]); err != nil {
		os.Exit(1)
	}
}
