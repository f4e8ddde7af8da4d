// Producer sends flights, one message for each line of a file, to the partition of their aircraft.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tidegate.example/sqs-go/flights"
	"tidegate.example/sqs-go/queues"
	"tidegate.example/sqs-go/routing"
)

func main() {
	queue := flag.String("queue", "", "the queue")
	partitions := flag.Int("partitions", 1, "how many queues share the flights")
	flag.Parse()
	if *queue == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: producer --queue NAME [--partitions N] PATH")
		os.Exit(2)
	}
	if err := send(context.Background(), *queue, *partitions, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

func send(ctx context.Context, queue string, partitions int, path string) error {
	// Where the server is and who asks it: AWS_ENDPOINT_URL_SQS, AWS_REGION, AWS_ACCESS_KEY_ID and so on.
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := sqs.NewFromConfig(settings)
	urls, err := queues.Open(ctx, client, queue, partitions)
	if err != nil {
		return err
	}
	messages, err := flights.Read(path)
	if err != nil {
		return err
	}
	of := make([][]types.SendMessageBatchRequestEntry, len(urls))
	for _, message := range messages {
		partition := routing.Partition(aws.ToString(message.MessageGroupId), uint32(len(urls)))
		of[partition] = append(of[partition], message)
	}
	refused, errs := make([][]types.BatchResultErrorEntry, len(urls)), make([]error, len(urls))
	var sending sync.WaitGroup
	for at, url := range urls {
		sending.Go(func() { refused[at], errs[at] = queues.SendAll(ctx, client, url, of[at]) })
	}
	sending.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var all []types.BatchResultErrorEntry
	for _, entries := range refused {
		all = append(all, entries...)
	}
	fmt.Printf("sent=%d refused=%d\n", len(messages)-len(all), len(all))
	if len(all) > 0 {
		return fmt.Errorf("%s: %s", aws.ToString(all[0].Code), aws.ToString(all[0].Message))
	}
	return nil
}
