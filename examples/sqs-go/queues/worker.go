package queues

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"tidegate.example/sqs-go/backoff"
)

const (
	waitSecondsMax  = 20
	settleTriesMax  = 5
	settleWithinMax = 10 * time.Second
)

// Verdict is what becomes of a message. One that is not done is hidden for a while, longer from attempt to attempt.
type Verdict struct {
	IsDone bool
	Note   string
}

// Worker works on the messages of a FIFO queue.
type Worker struct {
	Client *sqs.Client
	URL    string
	// Handler should end soon when its context does; what it says then does not count.
	Handler func(context.Context, types.Message) Verdict
	// Settled hears of each verdict that was carried out.
	Settled func(types.Message, Verdict)
	// Visibility is how long messages are hidden from others, in whole seconds; they are extended while they are
	// worked on.
	Visibility time.Duration
}

// A message, and what was made of it.
type judged struct {
	message types.Message
	verdict Verdict
}

// A message that is hidden from others for so long.
type hidden struct {
	message types.Message
	seconds int32
}

// What is held and extended now and then. The lock is held while it is extended, so that nothing is extended after it
// was given back.
type held struct {
	sync.Mutex
	messages map[string]types.Message
}

// Attempt is how often a message was received, this time included.
func Attempt(message types.Message) uint32 {
	received := message.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]
	attempt, _ := strconv.ParseUint(received, 10, 32) // 0 where it was not asked for
	return uint32(attempt)
}

// Run works until the context ends, and gives back what is not done by then.
func (w *Worker) Run(ctx context.Context) error {
	for failures := uint32(0); ctx.Err() == nil; {
		batch, err := w.receive(ctx)
		if err == nil {
			failures = 0
			err = w.workOn(ctx, batch)
		}
		switch {
		case err == nil || ctx.Err() != nil:
		case IsForGood(err):
			return err
		default:
			failures++
			fmt.Fprintln(os.Stderr, "trying again:", err)
			sleep(ctx, ofCalls.Delay(failures))
		}
	}
	return nil
}

// A long poll: it is answered when there is something, and after 20 seconds.
func (w *Worker) receive(ctx context.Context) ([]types.Message, error) {
	answer, err := w.Client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:            &w.URL,
		MaxNumberOfMessages: entriesMax,
		WaitTimeSeconds:     waitSecondsMax,
		VisibilityTimeout:   int32(w.Visibility.Seconds()),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameApproximateReceiveCount,
			types.MessageSystemAttributeNameMessageGroupId,
		},
	})
	if err != nil {
		return nil, err
	}
	return answer.Messages, nil
}

func (w *Worker) workOn(ctx context.Context, batch []types.Message) error {
	// What was received is settled, even where the worker has to end.
	settle := context.WithoutCancel(ctx)
	held := &held{messages: map[string]types.Message{}}
	for _, message := range batch {
		held.messages[aws.ToString(message.ReceiptHandle)] = message
	}
	over := make(chan struct{})
	defer close(over)
	go w.heartbeat(settle, held, over)
	var groups sync.WaitGroup
	results := make(chan []judged, len(batch))
	errs := make(chan error, len(batch))
	for _, group := range groupsOf(batch) {
		groups.Go(func() {
			done, err := w.workOnGroup(ctx, group, held)
			results <- done
			errs <- err
		})
	}
	groups.Wait()
	close(results)
	close(errs)
	var done []judged
	for of := range results {
		done = append(done, of...)
	}
	if err := w.remove(settle, done); err != nil {
		return err
	}
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func groupsOf(batch []types.Message) map[string][]types.Message {
	groups := map[string][]types.Message{}
	for _, message := range batch {
		group := message.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
		groups[group] = append(groups[group], message)
	}
	return groups
}

// In order. Where one is not done, those behind it are given back: they come after it.
func (w *Worker) workOnGroup(ctx context.Context, group []types.Message, held *held) ([]judged, error) {
	var done []judged
	for at, message := range group {
		var verdict Verdict
		if ctx.Err() == nil {
			verdict = w.Handler(ctx, message)
		}
		if verdict.IsDone {
			done = append(done, judged{message, verdict})
			continue
		}
		var back []hidden
		for _, message := range group[at:] {
			back = append(back, hidden{message: message})
		}
		stops := ctx.Err() != nil
		if !stops {
			back[0].seconds = backoff.Default.VisibilitySeconds(Attempt(message))
		}
		held.letGo(group[at:])
		if err := w.hide(context.WithoutCancel(ctx), back); err != nil {
			return done, err
		}
		if !stops {
			w.Settled(message, verdict)
		}
		return done, nil
	}
	return done, nil
}

func (h *held) letGo(messages []types.Message) {
	h.Lock()
	defer h.Unlock()
	for _, message := range messages {
		delete(h.messages, aws.ToString(message.ReceiptHandle))
	}
}

func (w *Worker) heartbeat(ctx context.Context, held *held, over <-chan struct{}) {
	ticker := time.NewTicker(w.Visibility / 3)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			return
		case <-ticker.C:
			if err := w.extend(ctx, held); err != nil {
				fmt.Fprintln(os.Stderr, "not extended:", err)
			}
		}
	}
}

func (w *Worker) extend(ctx context.Context, held *held) error {
	held.Lock()
	defer held.Unlock()
	var all []hidden
	for _, message := range held.messages {
		all = append(all, hidden{message, int32(w.Visibility.Seconds())})
	}
	return w.hide(ctx, all)
}

func (w *Worker) hide(ctx context.Context, all []hidden) error {
	call := func(ctx context.Context, left []hidden) ([]types.BatchResultErrorEntry, error) {
		var entries []types.ChangeMessageVisibilityBatchRequestEntry
		for at, one := range left {
			entries = append(entries, types.ChangeMessageVisibilityBatchRequestEntry{
				Id: aws.String(strconv.Itoa(at)), ReceiptHandle: one.message.ReceiptHandle, VisibilityTimeout: one.seconds,
			})
		}
		input := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &w.URL, Entries: entries}
		answer, err := w.Client.ChangeMessageVisibilityBatch(ctx, input)
		if err != nil {
			return nil, err
		}
		return answer.Failed, nil
	}
	_, err := each(ctx, all, func(one hidden) types.Message { return one.message }, call)
	return err
}

func (w *Worker) remove(ctx context.Context, done []judged) error {
	call := func(ctx context.Context, left []judged) ([]types.BatchResultErrorEntry, error) {
		var entries []types.DeleteMessageBatchRequestEntry
		for at, one := range left {
			entries = append(entries, types.DeleteMessageBatchRequestEntry{
				Id: aws.String(strconv.Itoa(at)), ReceiptHandle: one.message.ReceiptHandle,
			})
		}
		answer, err := w.Client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &w.URL, Entries: entries})
		if err != nil {
			return nil, err
		}
		return answer.Failed, nil
	}
	removed, err := each(ctx, done, func(one judged) types.Message { return one.message }, call)
	for _, one := range removed {
		w.Settled(one.message, one.verdict)
	}
	return err
}

// Makes a batch call, and makes it again for the entries that failed. Returns those that succeeded, in their order.
// Others, and all where the server is away for long, come back when their visibility timeout is over.
func each[T any](
	ctx context.Context, all []T, messageOf func(T) types.Message,
	call func(context.Context, []T) ([]types.BatchResultErrorEntry, error),
) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithinMax)
	defer cancel()
	var succeeded []T
	left := all
	for retry := uint32(1); len(left) > 0 && retry <= settleTriesMax; retry++ {
		if retry > 1 {
			sleep(ctx, ofCalls.Delay(retry-1))
		}
		failures, err := call(ctx, left)
		if IsForGood(err) {
			return succeeded, err
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "trying again:", err)
			continue
		}
		failed := map[string]types.BatchResultErrorEntry{}
		for _, failure := range failures {
			failed[aws.ToString(failure.Id)] = failure
		}
		var again []T
		for at, one := range left {
			failure, hasFailed := failed[strconv.Itoa(at)]
			switch {
			case !hasFailed:
				succeeded = append(succeeded, one)
			case failure.SenderFault:
				id, code := aws.ToString(messageOf(one).MessageId), aws.ToString(failure.Code)
				fmt.Fprintf(os.Stderr, "lost %s: %s\n", id, code)
			default:
				again = append(again, one)
			}
		}
		left = again
	}
	return succeeded, nil
}
