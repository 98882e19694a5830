// A dubbo-go provider as its users build it: all plugins, grpc.health.v1 among them.
//
// A line on its input sets what that says of it: SERVING or NOT_SERVING, answered with the same word on its output.
package main

import (
	"bufio"
	"fmt"
	"os"

	_ "dubbo.apache.org/dubbo-go/v3/imports"
	"dubbo.apache.org/dubbo-go/v3/protocol/triple/health"

	"thinmesh/interop/dubbo-go/greeter"
	"thinmesh/interop/dubbo-go/service"
)

func obey() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		set := health.SetServingStatusNotServing
		if lines.Text() == "SERVING" {
			set = health.SetServingStatusServing
		}
		set("")
		set(greeter.Interface)
		fmt.Println(lines.Text())
	}
}

func main() {
	go obey()
	service.Main()
}
