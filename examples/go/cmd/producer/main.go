// Producer sends flights, one task for each line of a file, and tells how many there were.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"tidegate.example/go/flights"
	"tidegate.example/go/tidegate"
	pb "tidegate.example/go/tidegatev1"
)

const (
	// A request is one call of the broker; many are on their way at the same time.
	tasksPerRequest = 100
	patience        = 30 * time.Second
)

func main() {
	address := flag.String("server", "127.0.0.1:9326", "host and port")
	queue := flag.String("queue", "", "the queue")
	token := flag.String("token", "", "the access token, where the server asks for one")
	flag.Parse()
	if *queue == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: producer [--server HOST:PORT] [--token T] --queue NAME PATH")
		os.Exit(2)
	}
	server := tidegate.Server{Address: *address, Token: *token}
	if err := send(context.Background(), server, *queue, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

func send(ctx context.Context, server tidegate.Server, queue, path string) error {
	tasks, err := flights.Read(path)
	if err != nil {
		return err
	}
	if err := declare(ctx, server, queue); err != nil {
		return err
	}
	sender := tidegate.NewSender(server, patience)
	defer sender.Close()
	var receipts []*tidegate.Receipt
	for batch := range slices.Chunk(tasks, tasksPerRequest) {
		receipts = append(receipts, sender.Send(queue, batch))
	}
	var outcomes []*pb.Enqueued
	for _, receipt := range receipts {
		told, err := receipt.Wait(ctx)
		if err != nil {
			return err
		}
		outcomes = append(outcomes, told...)
	}
	return report(outcomes)
}

func declare(ctx context.Context, server tidegate.Server, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	link, err := server.Reach(ctx)
	if err != nil {
		return err
	}
	defer link.Close()
	return link.Declare(ctx, flights.Queue(queue))
}

func report(outcomes []*pb.Enqueued) error {
	var known, refused int
	var why *pb.Error
	for _, outcome := range outcomes {
		if outcome.GetDeduplicated() {
			known++
		}
		if outcome.GetError() != nil {
			refused++
			why = outcome.GetError()
		}
	}
	if refused > 0 {
		fmt.Fprintf(os.Stderr, "%d of %d were refused\n", refused, len(outcomes))
		return tidegate.ErrorOf(why)
	}
	fmt.Printf("sent=%d deduplicated=%d\n", len(outcomes), known)
	return nil
}
