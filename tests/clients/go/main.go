// An unmodified grpc-go client: pulls an image, creates, attaches, starts, waits, removes, and sees the events of it, over
// the daemon's unix socket or over TCP with mutual TLS.
//
//	main IMAGE unix:SOCKET
//	main IMAGE HOST:PORT CERTIFICATES
//
// CERTIFICATES is the folder that deploy/certificates made.
// The packages below gen/ are made of proto/ when the test runs (tests/clients/run).
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	containers "gantry.invalid/clients/gen/gantry/containers/v1"
	events "gantry.invalid/clients/gen/gantry/events/v1"
	images "gantry.invalid/clients/gen/gantry/images/v1"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := grpc.NewClient(os.Args[2], grpc.WithTransportCredentials(transport()))
	must(err)
	defer connection.Close()
	removed := watch(ctx, events.NewEventServiceClient(connection))
	pull(ctx, images.NewImageServiceClient(connection), os.Args[1])
	run(ctx, containers.NewContainerServiceClient(connection), os.Args[1])
	if kinds := <-removed; kinds != "CREATE START EXIT REMOVE" {
		log.Fatalf("events: %s", kinds)
	}
	fmt.Println("OK")
}

// Mutual TLS where a folder of certificates is given.
func transport() credentials.TransportCredentials {
	if len(os.Args) < 4 {
		return insecure.NewCredentials()
	}
	folder := os.Args[3]
	certificate, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	must(err)
	authority, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	must(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		log.Fatal("the authority's certificate is not in PEM form")
	}
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots})
}

// Watches the events of containers; the channel gives their kinds up to a removal.
func watch(ctx context.Context, client events.EventServiceClient) <-chan string {
	stream, err := client.WatchEvents(ctx, &events.WatchEventsRequest{Filter: "resource==container"})
	must(err)
	_, err = stream.Recv()
	must(err)
	removed := make(chan string, 1)
	go func() {
		var kinds []string
		for {
			message, err := stream.Recv()
			must(err)
			kind := message.GetEvent().GetKind()
			kinds = append(kinds, strings.TrimPrefix(kind.String(), "EVENT_KIND_CONTAINER_"))
			if kind == events.EventKind_EVENT_KIND_CONTAINER_REMOVE {
				removed <- strings.Join(kinds, " ")
				return
			}
		}
	}()
	return removed
}

func pull(ctx context.Context, client images.ImageServiceClient, image string) {
	stream, err := client.PullImage(ctx, &images.PullImageRequest{Name: image})
	must(err)
	var result *images.PullResult
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			break
		}
		must(err)
		result = message.GetResult()
	}
	if !strings.HasPrefix(result.GetImage().GetId(), "sha256:") {
		log.Fatalf("pull: %v", result)
	}
}

// Runs a shell that reads a line, attached from before its start.
func run(ctx context.Context, client containers.ContainerServiceClient, image string) {
	process := &containers.ProcessOptions{Args: []string{"sh", "-c", "read line; echo read: $line; exit 7"}, StdinOpen: true}
	created, err := client.CreateContainer(ctx, &containers.CreateContainerRequest{
		Image: image, Options: &containers.ContainerOptions{Process: process},
	})
	must(err)
	id := created.GetContainer().GetId()
	attach, err := client.AttachContainer(ctx)
	must(err)
	selection := &containers.AttachSelection{Container: id, Stdin: true}
	must(attach.Send(&containers.AttachContainerRequest{
		Message: &containers.AttachContainerRequest_Select{Select: selection},
	}))
	var output string
	var code uint32
	for {
		message, err := attach.Recv()
		if err == io.EOF {
			break
		}
		must(err)
		switch {
		case message.GetAttached() != nil:
			_, err := client.StartContainer(ctx, &containers.StartContainerRequest{Container: id})
			must(err)
			must(attach.Send(&containers.AttachContainerRequest{
				Message: &containers.AttachContainerRequest_Stdin{Stdin: []byte("hello\n")},
			}))
		case message.GetOutput() != nil:
			output += string(message.GetOutput().GetData())
		case message.GetExit() != nil:
			code = message.GetExit().GetCode()
		}
	}
	waited, err := client.WaitContainer(ctx, &containers.WaitContainerRequest{Container: id})
	must(err)
	if output != "read: hello\n" || code != 7 || waited.GetExit().GetCode() != 7 {
		log.Fatalf("output %q, exit codes %d and %d", output, code, waited.GetExit().GetCode())
	}
	_, err = client.RemoveContainer(ctx, &containers.RemoveContainerRequest{Container: id})
	must(err)
	_, err = client.GetContainer(ctx, &containers.GetContainerRequest{Container: id})
	if status.Code(err) != codes.NotFound {
		log.Fatalf("a removed container was answered with %v", err)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
