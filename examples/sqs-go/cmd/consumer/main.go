// Consumer works on flights of all partitions until SIGTERM or Ctrl-C, and prints a line for each verdict.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tidegate.example/sqs-go/flights"
	"tidegate.example/sqs-go/queues"
)

func main() {
	queue := flag.String("queue", "", "the queue")
	partitions := flag.Int("partitions", 1, "how many queues share the flights")
	visibilityS := flag.Int("visibility-s", 30, "hide flights from others for so many seconds; they are extended")
	workMs := flag.Int("work-ms", 0, "how long to work on each flight")
	flag.Parse()
	if *queue == "" {
		fmt.Fprintln(os.Stderr, "usage: consumer --queue NAME [--partitions N] [--visibility-s S] [--work-ms MS]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	worker := queues.Worker{
		Handler:    flights.Handler(time.Duration(*workMs) * time.Millisecond),
		Settled:    flights.Show,
		Visibility: time.Duration(*visibilityS) * time.Second,
	}
	if err := work(ctx, worker, *queue, *partitions); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

func work(ctx context.Context, worker queues.Worker, queue string, partitions int) error {
	// Where the server is and who asks it: AWS_ENDPOINT_URL_SQS, AWS_REGION, AWS_ACCESS_KEY_ID and so on.
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	worker.Client = sqs.NewFromConfig(settings)
	urls, err := queues.Open(ctx, worker.Client, queue, partitions)
	if err != nil {
		return err
	}
	ended := make(chan error, len(urls))
	all, end := context.WithCancel(ctx)
	defer end()
	var working sync.WaitGroup
	for _, url := range urls {
		worker := worker
		worker.URL = url
		working.Go(func() {
			// One that fails ends the others.
			defer end()
			ended <- worker.Run(all)
		})
	}
	working.Wait()
	close(ended)
	for err := range ended {
		if err != nil {
			return err
		}
	}
	return nil
}
