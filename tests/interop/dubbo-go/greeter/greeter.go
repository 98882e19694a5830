// Package greeter names the service that Dubbo Java, dubbo-go and dubbo-js all speak: well-known protobuf types only, so that nobody
// needs generated code.
package greeter

const (
	Interface = "thinmesh.interop.Greeter"

	Greet   = "greet"   // unary: "hello NAME"; the attachment x-asked comes back as x-told; "sleep MS" answers late; "who": the port
	Fail    = "fail"    // unary: "business" fails, "status" fails with ALREADY_EXISTS
	Count   = "count"   // server stream: 1 to N
	Collect = "collect" // client stream: all of it, with commas between
	Chat    = "chat"    // bidirectional: "echo MESSAGE"
)

// Methods in the order of their constants.
var Methods = []string{Greet, Fail, Count, Collect, Chat}
