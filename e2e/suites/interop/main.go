// The server of gRPC's interoperability tests, as grpc-go has it, but on loopback alone. It prints where it listens.
package main

import (
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		server := grpc.NewServer()
		testpb.RegisterTestServiceServer(server, interop.NewTestServer())
		fmt.Println("listens on", listener.Addr())
		err = server.Serve(listener)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
