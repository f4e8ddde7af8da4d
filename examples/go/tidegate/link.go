package tidegate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "tidegate.example/go/tidegatev1"
)

const (
	helloTimeout = 5 * time.Second
	backoffMin   = 100 * time.Millisecond
	backoffMax   = 2 * time.Second
	// Leases come in parts of about 1 MiB, but one payload can be 16 MiB.
	responseBytesMax = 32 << 20
)

// Server is where the server is, and the token that lets in; without one it is empty.
type Server struct {
	Address string
	Token   string
}

// bearer adds the token to every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false, so that the example runs beside a server without TLS. Say true where the
// server is another machine.
func (bearer) RequireTransportSecurity() bool { return false }

// Link is one connection that is up.
type Link struct {
	calls   pb.BrokerClient
	welcome *pb.Welcome
	// Closed when no more calls may begin: the server has said that it ends, or is gone.
	draining chan struct{}
	conn     *grpc.ClientConn
	hangUp   context.CancelFunc
}

// Dial connects once.
func (s Server) Dial(ctx context.Context) (*Link, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(responseBytesMax)),
		// A peer that vanished without a word is noticed, though nothing is sent.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}
	if s.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(s.Token)))
	}
	conn, err := grpc.NewClient(s.Address, options...)
	if err != nil {
		return nil, &Error{Kind: "INVALID", Subject: s.Address, Message: err.Error()}
	}
	// The hello lives as long as the link, not as long as the dialling.
	life, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	link := &Link{calls: pb.NewBrokerClient(conn), draining: make(chan struct{}), conn: conn, hangUp: hangUp}
	late := time.AfterFunc(helloTimeout, hangUp)
	given := context.AfterFunc(ctx, hangUp)
	events, first, err := link.hello(life)
	if err != nil {
		link.Close()
		return nil, err
	}
	if !late.Stop() || !given() {
		link.Close()
		return nil, away("the server did not answer")
	}
	link.welcome = first
	go link.watch(events)
	return link, nil
}

func (l *Link) hello(ctx context.Context) (grpc.ServerStreamingClient[pb.HelloResponse], *pb.Welcome, error) {
	events, err := l.calls.Hello(ctx, &pb.HelloRequest{Client: "go example"})
	if err != nil {
		return nil, nil, errorOfStatus(err)
	}
	first, err := events.Recv()
	if err != nil {
		return nil, nil, errorOfStatus(err)
	}
	if first.GetWelcome() == nil {
		return nil, nil, away("the server is ending")
	}
	return events, first.GetWelcome(), nil
}

func (l *Link) watch(events grpc.ServerStreamingClient[pb.HelloResponse]) {
	defer close(l.draining)
	for {
		event, err := events.Recv()
		if err != nil || event.GetDraining() != nil {
			return
		}
	}
}

// mayBegin tells whether calls may still begin.
func (l *Link) mayBegin() bool {
	select {
	case <-l.draining:
		return false
	default:
		return true
	}
}

// leasesOutliveIt tells whether a lease goes on when the connection ends, so that it can be settled on the next.
func (l *Link) leasesOutliveIt() bool {
	return l.welcome.GetCapabilities().GetLease() == pb.LeaseSupport_LEASE_SUPPORT_TIMED
}

// Declare creates a queue, or finds it with the same spec.
func (l *Link) Declare(ctx context.Context, spec *pb.QueueSpec) error {
	if _, err := l.calls.Declare(ctx, &pb.DeclareRequest{Spec: spec}); err != nil {
		return errorOfStatus(err)
	}
	return nil
}

// Close hangs up. What is not answered may have been carried out or not.
func (l *Link) Close() {
	l.hangUp()
	_ = l.conn.Close()
}

// Reach connects, and tries again while that can help, until ctx ends.
func (s Server) Reach(ctx context.Context) (*Link, error) {
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		link, err := s.Dial(ctx)
		if err == nil || !helps(err) || ctx.Err() != nil {
			return link, err
		}
		warn("trying again: %v", err)
		// Full jitter, so that all clients of a server do not come back at once.
		select {
		case <-time.After(rand.N(wait)):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// helps tells whether trying again helps.
func helps(err error) bool {
	var told *Error
	return errors.As(err, &told) && told.Retryable
}

func warn(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}
