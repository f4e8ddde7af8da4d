package queues

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// More than the attributes of a message have here.
	attributesBytes = 1_024
	sendTriesMax    = 8
)

// SendAll sends to a FIFO queue in order and returns what was refused for good, one entry each.
func SendAll(
	ctx context.Context, client *sqs.Client, url string, messages []types.SendMessageBatchRequestEntry,
) ([]types.BatchResultErrorEntry, error) {
	var refused []types.BatchResultErrorEntry
	for _, batch := range batches(messages) {
		failed, err := sendBatch(ctx, client, url, batch)
		if err != nil {
			return nil, err
		}
		refused = append(refused, failed...)
	}
	return refused, nil
}

// At most one message of a group is in a batch: one that has to be sent again still comes before the next.
func batches(messages []types.SendMessageBatchRequestEntry) [][]types.SendMessageBatchRequestEntry {
	var batches [][]types.SendMessageBatchRequestEntry
	var groups map[string]bool
	bytes := 0
	for _, message := range messages {
		group, size := aws.ToString(message.MessageGroupId), len(aws.ToString(message.MessageBody))+attributesBytes
		last := len(batches) - 1
		if last < 0 || len(batches[last]) == entriesMax || groups[group] || bytes+size > batchBytesMax {
			batches = append(batches, nil)
			groups, bytes, last = map[string]bool{}, 0, last+1
		}
		message.Id = aws.String(strconv.Itoa(len(batches[last])))
		batches[last] = append(batches[last], message)
		groups[group] = true
		bytes += size
	}
	return batches
}

// A batch is answered entry by entry: some may be there, others not. What is refused for now is sent again.
func sendBatch(
	ctx context.Context, client *sqs.Client, url string, left []types.SendMessageBatchRequestEntry,
) ([]types.BatchResultErrorEntry, error) {
	var refused []types.BatchResultErrorEntry
	for retry := uint32(1); ; retry++ {
		answer, err := client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: left})
		if err != nil {
			return nil, err
		}
		again := map[string]bool{}
		for _, failed := range answer.Failed {
			if failed.SenderFault || retry == sendTriesMax {
				refused = append(refused, failed)
			} else {
				again[aws.ToString(failed.Id)] = true
			}
		}
		if len(again) == 0 {
			return refused, nil
		}
		var next []types.SendMessageBatchRequestEntry
		for _, entry := range left {
			if again[aws.ToString(entry.Id)] {
				next = append(next, entry)
			}
		}
		left = next
		sleep(ctx, ofCalls.Delay(retry))
	}
}
