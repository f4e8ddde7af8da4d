// Consumer works on flights until SIGTERM or Ctrl-C, and prints a line for each verdict.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tidegate.example/go/flights"
	"tidegate.example/go/tidegate"
)

func main() {
	address := flag.String("server", "127.0.0.1:9326", "host and port")
	queue := flag.String("queue", "", "the queue")
	token := flag.String("token", "", "the access token, where the server asks for one")
	concurrency := flag.Int("concurrency", 16, "most tasks at a time")
	leaseMs := flag.Int("lease-ms", 0, "hold tasks for so long; 0 is the queue's lease")
	workMs := flag.Int("work-ms", 0, "how long to work on each task")
	flag.Parse()
	if *queue == "" {
		fmt.Fprintln(os.Stderr, "usage: consumer [--server HOST:PORT] [--token T] --queue NAME")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	worker := tidegate.Worker{
		Server:      tidegate.Server{Address: *address, Token: *token},
		Spec:        flights.Queue(*queue),
		Handler:     flights.Handler(time.Duration(*workMs) * time.Millisecond),
		Settled:     flights.Show,
		Concurrency: *concurrency,
		Lease:       time.Duration(*leaseMs) * time.Millisecond,
		Grace:       2 * time.Second,
	}
	if err := worker.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}
