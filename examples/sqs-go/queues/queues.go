// Package queues sends to FIFO queues of SQS, and works on what is in them.
package queues

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tidegate.example/sqs-go/backoff"
)

const (
	// What SQS takes in one call.
	entriesMax    = 10
	batchBytesMax = 1_048_576
	// Receives of one message before it goes to the dead-letter queue.
	receivesMax = 10
)

// Of calls that failed, by the network or the server.
var ofCalls = backoff.Backoff{Initial: 100 * time.Millisecond, Multiplier: 2, Max: 5 * time.Second}

// Open returns the URLs of the partitions NAME-0.fifo, NAME-1.fifo and so on, which share a dead-letter queue. Whoever
// comes first creates them.
func Open(ctx context.Context, client *sqs.Client, name string, partitions int) ([]string, error) {
	dead, err := create(ctx, client, name+"-dead.fifo", nil)
	if err != nil {
		return nil, err
	}
	arn := types.QueueAttributeNameQueueArn
	asked, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &dead, AttributeNames: []types.QueueAttributeName{arn},
	})
	if err != nil {
		return nil, err
	}
	redrive, err := json.Marshal(map[string]any{
		"deadLetterTargetArn": asked.Attributes[string(arn)], "maxReceiveCount": receivesMax,
	})
	if err != nil {
		return nil, err
	}
	var urls []string
	for partition := range partitions {
		attributes := map[string]string{string(types.QueueAttributeNameRedrivePolicy): string(redrive)}
		url, err := create(ctx, client, fmt.Sprintf("%s-%d.fifo", name, partition), attributes)
		if err != nil {
			return nil, err
		}
		urls = append(urls, url)
	}
	return urls, nil
}

func create(ctx context.Context, client *sqs.Client, name string, attributes map[string]string) (string, error) {
	all := map[string]string{string(types.QueueAttributeNameFifoQueue): "true"}
	for attribute, value := range attributes {
		all[attribute] = value
	}
	created, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: all})
	if err != nil {
		return "", err
	}
	return aws.ToString(created.QueueUrl), nil
}

// IsForGood tells whether a call fails again, however often it is tried.
func IsForGood(err error) bool {
	var refused smithy.APIError
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &refused) || !errors.As(err, &answer) {
		return false
	}
	switch refused.ErrorCode() {
	case "OverLimit", "RequestThrottled", "ThrottlingException":
		return false
	}
	status := answer.HTTPStatusCode()
	return status >= 400 && status < 500 && status != 429
}

// sleep returns early where the context ends.
func sleep(ctx context.Context, wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}
