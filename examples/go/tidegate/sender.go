package tidegate

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "tidegate.example/go/tidegatev1"
)

// Sender sends tasks, many requests at a time: they go out as they come, their receipts come back in any order.
//
// When the connection is lost, requests without a receipt are sent again on the next one, in their order. Whether
// the first try went in is not known then: give tasks dedup keys, so that both make one task.
type Sender struct {
	server   Server
	patience time.Duration
	stop     context.CancelFunc
	news     chan struct{}

	mu              sync.Mutex
	lastID          uint64
	waiting         []*request
	unanswered      map[uint64]*request
	unansweredBytes int
	failure         error
}

type request struct {
	message *pb.EnqueueRequest
	bytes   int
	receipt chan receipt // holds one
}

// Receipt is what will be known of tasks that are on their way.
type Receipt request

type receipt struct {
	outcomes []*pb.Enqueued
	err      error
}

// NewSender begins to connect. It fails once there is no connection for as long as patience.
func NewSender(server Server, patience time.Duration) *Sender {
	ctx, stop := context.WithCancel(context.Background())
	s := &Sender{
		server: server, patience: patience, stop: stop,
		news: make(chan struct{}, 1), unanswered: map[uint64]*request{},
	}
	go s.run(ctx)
	return s
}

// Send enqueues tasks, at most batch_max, behind those of the calls before it. It does not wait.
func (s *Sender) Send(queue string, tasks []*pb.NewTask) *Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &request{receipt: make(chan receipt, 1)}
	if s.failure != nil {
		r.receipt <- receipt{err: s.failure}
		return (*Receipt)(r)
	}
	s.lastID++
	r.message = &pb.EnqueueRequest{Id: s.lastID, Queue: queue, Tasks: tasks}
	r.bytes = proto.Size(r.message)
	s.waiting = append(s.waiting, r)
	s.wake()
	return (*Receipt)(r)
}

// Wait waits for the outcomes, one for each task; look at their errors. When ctx ends first, the tasks may go in
// all the same. To be called once.
func (r *Receipt) Wait(ctx context.Context) ([]*pb.Enqueued, error) {
	select {
	case told := <-r.receipt:
		return told.outcomes, told.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends it. What has no receipt yet may have gone in or not.
func (s *Sender) Close() { s.stop() }

func (s *Sender) run(ctx context.Context) {
	for {
		link, err := s.reach(ctx)
		if err == nil {
			err = s.exchange(ctx, link)
			link.Close()
		}
		if err != nil && !helps(err) || link == nil || ctx.Err() != nil {
			s.fail(err)
			return
		}
		s.sendAgain()
	}
}

func (s *Sender) reach(ctx context.Context) (*Link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	return s.server.Reach(ctx)
}

// exchange sends and receives until the stream ends.
func (s *Sender) exchange(ctx context.Context, link *Link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := link.calls.Enqueue(ctx)
	if err != nil {
		return errorOfStatus(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return errorOfStatus(err)
	}
	var writer sync.WaitGroup
	writer.Go(func() { s.write(ctx, link, stream, int(first.GetCreditBytes())) })
	defer writer.Wait()
	defer cancel()
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errorOfStatus(err)
		}
		s.receive(response)
	}
}

func (s *Sender) write(
	ctx context.Context, link *Link, stream grpc.BidiStreamingClient[pb.EnqueueRequest, pb.EnqueueResponse], credit int,
) {
	for {
		for r := s.next(link, credit); r != nil; r = s.next(link, credit) {
			// What is wrong with the stream is told to its reader.
			if stream.Send(r.message) != nil {
				return
			}
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the next request that may go out.
func (s *Sender) next(link *Link, credit int) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 || !link.mayBegin() {
		return nil
	}
	r := s.waiting[0]
	if len(s.unanswered) > 0 && s.unansweredBytes+r.bytes > credit {
		return nil
	}
	s.waiting = s.waiting[1:]
	s.unanswered[r.message.GetId()] = r
	s.unansweredBytes += r.bytes
	return r
}

func (s *Sender) receive(response *pb.EnqueueResponse) {
	s.mu.Lock()
	r := s.unanswered[response.GetId()]
	if r != nil {
		delete(s.unanswered, response.GetId())
		s.unansweredBytes -= r.bytes
	}
	s.mu.Unlock()
	s.wake()
	switch {
	case r == nil:
	case response.GetError() != nil:
		r.receipt <- receipt{err: ErrorOf(response.GetError())}
	default:
		r.receipt <- receipt{outcomes: response.GetOutcomes()}
	}
}

// sendAgain puts what is unanswered before what waits, in its order.
func (s *Sender) sendAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.takeUnanswered()
	s.waiting = append(again, s.waiting...)
}

func (s *Sender) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
	if err == nil || errors.Is(err, context.Canceled) {
		s.failure = &Error{Kind: "CLOSED", Message: "the sender was closed"}
	}
	for _, r := range append(s.takeUnanswered(), s.waiting...) {
		r.receipt <- receipt{err: s.failure}
	}
	s.waiting = nil
}

func (s *Sender) takeUnanswered() []*request {
	var requests []*request
	for _, r := range s.unanswered {
		requests = append(requests, r)
	}
	slices.SortFunc(requests, func(a, b *request) int { return int(a.message.GetId()) - int(b.message.GetId()) })
	clear(s.unanswered)
	s.unansweredBytes = 0
	return requests
}

func (s *Sender) wake() {
	select {
	case s.news <- struct{}{}:
	default: // the writer knows that there is some
	}
}
