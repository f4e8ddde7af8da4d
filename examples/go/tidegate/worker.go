package tidegate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "tidegate.example/go/tidegatev1"
)

// Verdict is what a handler decides.
type Verdict struct {
	proto *pb.Verdict
	// Note says what was found out, or what went wrong.
	Note string
}

// Complete says that the work is done.
func Complete(note string) Verdict {
	return Verdict{&pb.Verdict{Kind: &pb.Verdict_Complete{Complete: &pb.Complete{}}}, note}
}

// Retry says that the attempt failed; the task comes back after a while, or dies if it was its last.
func Retry(after time.Duration, why string) Verdict {
	retry := &pb.Retry{AfterUs: uint64(after.Microseconds()), Error: &why}
	return Verdict{&pb.Verdict{Kind: &pb.Verdict_Retry{Retry: retry}}, why}
}

// release says that nothing was tried; the attempt does not count.
func release() Verdict {
	return Verdict{proto: &pb.Verdict{Kind: &pb.Verdict_Release{Release: &pb.Release{}}}}
}

// Worker runs a handler for the tasks of a queue, so many at a time.
//
// What is held belongs to the worker and outlives a connection, as its leases do. What was asked on a stream and
// not answered is forgotten with it.
type Worker struct {
	Server Server
	Spec   *pb.QueueSpec
	// Handler works on a task. Its context ends when the lease of the task is lost. A panic is a Retry.
	Handler func(context.Context, *pb.Task) Verdict
	// Settled is told of each verdict, once the server has answered: the outcome is a name such as DONE.
	Settled     func(task *pb.Task, verdict Verdict, outcome string)
	Concurrency int
	// Lease is how long a task is held unless it is extended, which is done after every third of it. 0 is the
	// queue's.
	Lease time.Duration
	// Grace is how long handlers have to end once it is to stop.
	Grace time.Duration

	mu       sync.Mutex
	held     map[string]*held
	lastID   uint64
	stopping bool
	news     chan struct{}
}

// held is a task from its lease until the server has answered for its verdict.
type held struct {
	lease   *pb.Lease
	verdict *Verdict
	cancel  context.CancelFunc
}

// work is the stream of work of one link, with the steps that are not answered, by their ids.
type work struct {
	link               *Link
	credits            map[uint64]uint32   // what is left of each
	settles, extends   map[uint64][]string // the tokens
	opening, opened    bool
	beatIsDue          bool
	creditsAreTaken    bool
	closing, hasClosed bool
}

// One session on a stream is enough for one queue.
const session = 1

// Run works until ctx ends. Then nothing new is taken, handlers have Grace to end, and what is still held is given
// back. Reconnects for as long as that can help; the error is one where it does not.
func (w *Worker) Run(ctx context.Context) error {
	w.held, w.news = map[string]*held{}, make(chan struct{}, 1)
	defer w.forgetAll()
	ended := make(chan struct{})
	defer close(ended)
	go w.stop(ctx, ended)
	for {
		link, err := w.reach(ctx)
		if link == nil {
			return err
		}
		err = link.Declare(context.WithoutCancel(ctx), w.Spec)
		isDone := false
		if err == nil {
			isDone, err = w.serve(context.WithoutCancel(ctx), link)
		}
		link.Close()
		if isDone || err != nil && !helps(err) {
			return err
		}
		if !link.leasesOutliveIt() {
			w.forgetAll()
		}
		if err != nil {
			warn("connecting again: %v", err)
			time.Sleep(rand.N(backoffMin))
		}
	}
}

// reach is the next link, or none. Once it is to stop, only what is held is worth some waiting.
func (w *Worker) reach(ctx context.Context) (*Link, error) {
	link, err := w.Server.Reach(ctx)
	if ctx.Err() == nil || link != nil {
		return link, err
	}
	w.mu.Lock()
	holdsNone := len(w.held) == 0
	w.mu.Unlock()
	if holdsNone {
		return nil, nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.Grace)
	defer cancel()
	// If nobody answers, what is held comes back when its leases end.
	link, _ = w.Server.Reach(last)
	return link, nil
}

func (w *Worker) stop(ctx context.Context, ended chan struct{}) {
	select {
	case <-ctx.Done():
	case <-ended:
		return
	}
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	w.wake()
	select {
	case <-time.After(w.Grace):
	case <-ended:
		return
	}
	w.mu.Lock()
	for _, h := range w.held {
		if h.verdict == nil {
			verdict := release()
			h.verdict = &verdict
			h.cancel()
		}
	}
	w.mu.Unlock()
	w.wake()
}

// ---- one stream ----

// serve works on one link until its stream ends, and tells whether all was settled and the session closed.
func (w *Worker) serve(ctx context.Context, link *Link) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := link.calls.Work(ctx)
	if err != nil {
		cancel()
		return false, errorOfStatus(err)
	}
	s := &work{
		link: link, credits: map[uint64]uint32{}, settles: map[uint64][]string{}, extends: map[uint64][]string{},
	}
	var writer sync.WaitGroup
	writer.Go(func() { w.write(ctx, s, stream) })
	defer writer.Wait()
	defer cancel()
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return s.hasClosed, nil
		}
		if err != nil {
			return false, errorOfStatus(err)
		}
		w.mu.Lock()
		err = w.read(s, response)
		w.mu.Unlock()
		if err != nil {
			return false, err
		}
		w.wake()
	}
}

// write takes the steps that the state calls for, each time it has changed.
func (w *Worker) write(
	ctx context.Context, s *work, stream grpc.BidiStreamingClient[pb.WorkRequest, pb.WorkResponse],
) {
	for beat := time.After(0); ; {
		w.mu.Lock()
		var steps []*pb.WorkRequest
		if s.link.mayBegin() {
			steps = w.steps(s)
		}
		hasClosed, pause := s.hasClosed, w.pause()
		w.mu.Unlock()
		for _, step := range steps {
			// What is wrong with the stream is told to its reader.
			if stream.Send(step) != nil {
				return
			}
		}
		if hasClosed {
			_ = stream.CloseSend()
			return
		}
		select {
		case <-w.news:
		case <-beat:
			w.mu.Lock()
			s.beatIsDue = true
			w.mu.Unlock()
			beat = time.After(pause)
		case <-ctx.Done():
			return
		}
	}
}

// pause is a third of the shortest lease, and at most a second.
func (w *Worker) pause() time.Duration {
	shortest := 3 * time.Second
	if w.Lease > 0 {
		shortest = min(shortest, w.Lease)
	}
	for _, h := range w.held {
		shortest = min(shortest, time.Duration(h.lease.GetDurationUs())*time.Microsecond)
	}
	return shortest / 3
}

func (w *Worker) steps(s *work) (steps []*pb.WorkRequest) {
	if !s.opened {
		if !s.opening {
			s.opening = true
			steps = append(steps, w.step(&pb.WorkRequest{
				Step: &pb.WorkRequest_Open{Open: &pb.Open{Queue: w.Spec.GetName()}},
			}))
		}
		return steps
	}
	steps = append(steps, w.settle(s)...)
	if s.beatIsDue {
		s.beatIsDue = false
		steps = append(steps, w.extend(s)...)
	}
	if w.stopping {
		return append(steps, w.end(s)...)
	}
	return append(steps, w.ask(s)...)
}

// step numbers a request.
func (w *Worker) step(request *pb.WorkRequest) *pb.WorkRequest {
	w.lastID++
	request.Id, request.Session = w.lastID, session
	return request
}

// ask gives a credit for every free slot. It stands until it is used up: nobody polls.
func (w *Worker) ask(s *work) []*pb.WorkRequest {
	free := w.Concurrency - len(w.held)
	for _, left := range s.credits {
		free -= int(left)
	}
	if free <= 0 {
		return nil
	}
	credit := &pb.Credit{Limit: uint32(free)}
	if w.Lease > 0 {
		lease := uint64(w.Lease.Microseconds())
		credit.LeaseUs = &lease
	}
	step := w.step(&pb.WorkRequest{Step: &pb.WorkRequest_Credit{Credit: credit}})
	s.credits[step.GetId()] = credit.GetLimit()
	return []*pb.WorkRequest{step}
}

// end takes the credits back; each is answered once more, perhaps with leases. It closes the session when nothing
// is held any more.
func (w *Worker) end(s *work) (steps []*pb.WorkRequest) {
	if !s.creditsAreTaken {
		s.creditsAreTaken = true
		for credit := range s.credits {
			cancel := &pb.Cancel{Credit: credit}
			steps = append(steps, w.step(&pb.WorkRequest{Step: &pb.WorkRequest_Cancel{Cancel: cancel}}))
		}
	}
	if len(s.credits) == 0 && len(w.held) == 0 && !s.closing {
		s.closing = true
		steps = append(steps, w.step(&pb.WorkRequest{Step: &pb.WorkRequest_Close{Close: &pb.Close{}}}))
	}
	return steps
}

// settle puts all verdicts that have gathered into one step.
func (w *Worker) settle(s *work) []*pb.WorkRequest {
	underWay := map[string]bool{}
	for _, tokens := range s.settles {
		for _, token := range tokens {
			underWay[token] = true
		}
	}
	var tokens []string
	settle := &pb.Settle{}
	for token, h := range w.held {
		if h.verdict != nil && !underWay[token] {
			tokens = append(tokens, token)
			decision := &pb.Decision{Token: h.lease.GetToken(), Verdict: h.verdict.proto}
			settle.Decisions = append(settle.Decisions, decision)
		}
	}
	if len(tokens) == 0 {
		return nil
	}
	step := w.step(&pb.WorkRequest{Step: &pb.WorkRequest_Settle{Settle: settle}})
	s.settles[step.GetId()] = tokens
	return []*pb.WorkRequest{step}
}

func (w *Worker) extend(s *work) []*pb.WorkRequest {
	var tokens []string
	extend := &pb.Extend{}
	for token, h := range w.held {
		if h.verdict == nil {
			tokens = append(tokens, token)
			extension := &pb.Extension{Token: h.lease.GetToken(), DurationUs: h.lease.GetDurationUs()}
			extend.Extensions = append(extend.Extensions, extension)
		}
	}
	if len(tokens) == 0 {
		return nil
	}
	step := w.step(&pb.WorkRequest{Step: &pb.WorkRequest_Extend{Extend: extend}})
	s.extends[step.GetId()] = tokens
	return []*pb.WorkRequest{step}
}

func (w *Worker) read(s *work, response *pb.WorkResponse) error {
	id := response.GetId()
	switch answer := response.GetAnswer().(type) {
	case *pb.WorkResponse_Error:
		// Nothing of the step was carried out, or with UNAVAILABLE it is not known: what is held is settled
		// again on the next stream, where that can help.
		return ErrorOf(answer.Error)
	case *pb.WorkResponse_Opened:
		s.opened = true
	case *pb.WorkResponse_Leases:
		w.take(s, id, answer.Leases)
	case *pb.WorkResponse_Outcomes:
		outcomes := answer.Outcomes.GetOutcomes()
		for i, token := range s.settles[id] {
			w.wasSettled(token, nameOf(outcomes[i]))
		}
		for i, token := range s.extends[id] {
			if outcome := nameOf(outcomes[i]); strings.HasPrefix(outcome, "LOST") {
				w.lose(token, outcome)
			}
		}
		delete(s.settles, id)
		delete(s.extends, id)
	case *pb.WorkResponse_Closed:
		s.hasClosed = true
	}
	return nil
}

func nameOf(outcome pb.Outcome) string {
	return strings.TrimPrefix(outcome.String(), "OUTCOME_")
}

func (w *Worker) take(s *work, id uint64, leases *pb.Leases) {
	if leases.GetMore() {
		s.credits[id] -= uint32(len(leases.GetLeases()))
	} else {
		delete(s.credits, id)
	}
	for _, lease := range leases.GetLeases() {
		ctx, cancel := context.WithCancel(context.Background())
		h := &held{lease: lease, cancel: cancel}
		w.held[string(lease.GetToken())] = h
		if w.stopping {
			verdict := release()
			h.verdict = &verdict
		} else {
			go w.handle(ctx, h)
		}
	}
}

// ---- one task ----

func (w *Worker) handle(ctx context.Context, h *held) {
	verdict := w.decide(ctx, h.lease.GetTask())
	w.mu.Lock()
	// It may have been given back in the meantime.
	if h.verdict == nil {
		h.verdict = &verdict
	}
	w.mu.Unlock()
	w.wake()
}

func (w *Worker) decide(ctx context.Context, task *pb.Task) (verdict Verdict) {
	defer func() {
		if panicked := recover(); panicked != nil {
			verdict = Retry(time.Second, fmt.Sprintf("panicked: %v", panicked))
		}
	}()
	return w.Handler(ctx, task)
}

func (w *Worker) wasSettled(token, outcome string) {
	h := w.held[token]
	delete(w.held, token)
	h.cancel()
	switch h.verdict.proto.GetKind().(type) {
	case *pb.Verdict_Complete, *pb.Verdict_Retry:
		if strings.HasPrefix(outcome, "LOST") {
			warn("task %d was settled too late: %s", h.lease.GetTask().GetSequence(), outcome)
			return
		}
		w.Settled(h.lease.GetTask(), *h.verdict, outcome)
	}
}

// lose stops work on a task that somebody else has now, or will have.
func (w *Worker) lose(token, outcome string) {
	if h := w.held[token]; h != nil && h.verdict == nil {
		warn("task %d was lost while it was worked on: %s", h.lease.GetTask().GetSequence(), outcome)
		delete(w.held, token)
		h.cancel()
	}
}

func (w *Worker) forgetAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.held {
		h.cancel()
	}
	clear(w.held)
}

func (w *Worker) wake() {
	select {
	case w.news <- struct{}{}:
	default: // the writer knows that there is some
	}
}
