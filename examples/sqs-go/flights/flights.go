// Package flights is the work of the example: flights, and what is known of each.
package flights

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tidegate.example/sqs-go/queues"
)

// What a worker of Tidegate calls the task's kind.
const kind = "flight.departed"

const lineBytesMax = 1_048_576

type flight struct {
	Year     int     `json:"year"`
	Month    int     `json:"month"`
	Day      int     `json:"day"`
	Carrier  string  `json:"carrier"`
	Flight   int     `json:"flight"`
	Origin   string  `json:"origin"`
	Tailnum  *string `json:"tailnum"`
	DepTime  *int    `json:"dep_time"`
	ArrDelay *int    `json:"arr_delay"`
}

func (f flight) name() string {
	return fmt.Sprintf("%d-%02d-%02d/%s%d/%s", f.Year, f.Month, f.Day, f.Carrier, f.Flight, f.Origin)
}

// Read makes one message of each line of a file. Flights of one aircraft stay in order.
func Read(path string) ([]types.SendMessageBatchRequestEntry, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, lineBytesMax)
	var messages []types.SendMessageBatchRequestEntry
	for lines.Scan() {
		var read flight
		if err := json.Unmarshal(lines.Bytes(), &read); err != nil {
			return nil, err
		}
		group := read.name()
		if read.Tailnum != nil {
			group = *read.Tailnum
		}
		messages = append(messages, types.SendMessageBatchRequestEntry{
			MessageBody:    aws.String(lines.Text()),
			MessageGroupId: &group,
			// Sent twice, within five minutes, it is still one message.
			MessageDeduplicationId: aws.String(read.name()),
			MessageAttributes: map[string]types.MessageAttributeValue{
				"type": {DataType: aws.String("String"), StringValue: aws.String(kind)},
			},
		})
	}
	return messages, lines.Err()
}

// Handler looks at a flight, for so long. One that has not left yet is looked at once more, a little later.
func Handler(takes time.Duration) func(context.Context, types.Message) queues.Verdict {
	return func(ctx context.Context, message types.Message) queues.Verdict {
		var read flight
		if err := json.Unmarshal([]byte(aws.ToString(message.Body)), &read); err != nil {
			return queues.Verdict{Note: err.Error()}
		}
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return queues.Verdict{Note: "it has to end"}
		}
		switch {
		case read.DepTime == nil && queues.Attempt(message) == 1:
			return queues.Verdict{Note: "it has not left yet"}
		case read.DepTime == nil:
			return queues.Verdict{IsDone: true, Note: "it never left"}
		case read.ArrDelay == nil:
			return queues.Verdict{IsDone: true, Note: "nobody knows when it arrived"}
		default:
			return queues.Verdict{IsDone: true, Note: fmt.Sprintf("%+d minutes", *read.ArrDelay)}
		}
	}
}

// Show prints one line for each verdict that was carried out.
func Show(message types.Message, verdict queues.Verdict) {
	var read flight
	_ = json.Unmarshal([]byte(aws.ToString(message.Body)), &read) // the handler has said what is wrong with it
	key, outcome := "-", "SCHEDULED"
	if read.Tailnum != nil {
		key = *read.Tailnum
	}
	if verdict.IsDone {
		outcome = "DONE"
	}
	fmt.Printf("%s key=%s attempt=%d outcome=%s: %s\n", read.name(), key, queues.Attempt(message), outcome, verdict.Note)
}
