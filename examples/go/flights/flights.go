// Package flights is the work of the example: flights, and what is known of each.
package flights

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"tidegate.example/go/tidegate"
	pb "tidegate.example/go/tidegatev1"
)

const (
	kind        = "flight.departed"
	dedupWindow = time.Hour
)

// Queue is the queue of both programs: whoever comes first creates it. Flights of one aircraft stay in order.
func Queue(name string) *pb.QueueSpec {
	return &pb.QueueSpec{Name: name, Ordering: pb.Ordering_ORDERING_KEY}
}

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

// Read makes one task of each line of a file.
func Read(path string) ([]*pb.NewTask, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var tasks []*pb.NewTask
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			return tasks, lines.Err()
		}
		var read flight
		if err := json.Unmarshal(lines.Bytes(), &read); err != nil {
			return nil, err
		}
		window := &pb.Dedup_WindowUs{WindowUs: uint64(dedupWindow.Microseconds())}
		tasks = append(tasks, &pb.NewTask{
			Kind:        kind,
			Payload:     []byte(lines.Text()),
			OrderingKey: read.Tailnum,
			// Sent twice, within the hour, it is still one task.
			Dedup: &pb.Dedup{Key: read.name(), Unique: window},
		})
	}
}

// Handler looks at a flight, for so long. One that has not left yet is looked at once more, a little later.
func Handler(takes time.Duration) func(context.Context, *pb.Task) tidegate.Verdict {
	return func(ctx context.Context, task *pb.Task) tidegate.Verdict {
		var read flight
		if err := json.Unmarshal(task.GetPayload(), &read); err != nil {
			return tidegate.Retry(time.Second, err.Error())
		}
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return tidegate.Retry(0, "the lease was lost")
		}
		switch {
		case read.DepTime == nil && task.GetAttempt() == 1:
			return tidegate.Retry(300*time.Millisecond, "it has not left yet")
		case read.DepTime == nil:
			return tidegate.Complete("it never left")
		case read.ArrDelay == nil:
			return tidegate.Complete("nobody knows when it arrived")
		default:
			return tidegate.Complete(fmt.Sprintf("%+d minutes", *read.ArrDelay))
		}
	}
}

// Show prints one line for each verdict that was carried out.
func Show(task *pb.Task, verdict tidegate.Verdict, outcome string) {
	var read flight
	_ = json.Unmarshal(task.GetPayload(), &read) // the handler has said what is wrong with it
	key := task.GetOrderingKey()
	if key == "" {
		key = "-"
	}
	fmt.Printf("%s key=%s attempt=%d outcome=%s: %s\n", read.name(), key, task.GetAttempt(), outcome, verdict.Note)
}
