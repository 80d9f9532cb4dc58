// Prints the AppArmor profile that containerd gives a container which asks for none (tools/kernels.py).
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/containerd/containerd/contrib/apparmor"
)

func main() {
	profile, err := apparmor.DumpDefaultProfile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(profile)
}
