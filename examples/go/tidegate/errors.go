// Package tidegate is a client of the native protocol: a sender of tasks, and a worker on a queue. Copy it and
// change it.
package tidegate

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "tidegate.example/go/tidegatev1"
)

// Error is a failed call.
type Error struct {
	// Kind is a name of ErrorKind, such as QUEUE_FULL.
	Kind string
	// Subject is what it is about, such as a queue's name in quotes; perhaps nothing.
	Subject string
	Message string
	// Retryable says whether the same call can succeed later with nothing changed by the caller.
	Retryable bool
}

func (e *Error) Error() string {
	about, helps := e.Message, "trying again does not help"
	if e.Subject != "" {
		about = e.Subject + ": " + e.Message
	}
	if e.Retryable {
		helps = "trying again helps"
	}
	return fmt.Sprintf("%s: %s (%s)", e.Kind, about, helps)
}

// ErrorOf is the error as the protocol tells it.
func ErrorOf(told *pb.Error) *Error {
	kind, isKnown := pb.ErrorKind_name[int32(told.GetKind())]
	switch {
	case isKnown:
		kind = strings.TrimPrefix(kind, "ERROR_KIND_")
	// Of a newer server; whether trying again helps is all that can be known of it.
	case told.GetRetryable():
		kind = "UNAVAILABLE"
	default:
		kind = "UNEXPECTED"
	}
	message := strings.Join(append([]string{told.GetMessage()}, told.GetCauses()...), ": ")
	return &Error{Kind: kind, Subject: told.GetSubject(), Message: message, Retryable: told.GetRetryable()}
}

// Failures that carry no Error come from the connection, or from the door in front of the broker.
var kinds = map[codes.Code]string{
	// What a connection that breaks in the middle leaves; the broker's own come with an Error.
	codes.Internal:          "UNAVAILABLE",
	codes.Unknown:           "UNAVAILABLE",
	codes.Unavailable:       "UNAVAILABLE",
	codes.Canceled:          "UNAVAILABLE",
	codes.DeadlineExceeded:  "UNAVAILABLE",
	codes.Unauthenticated:   "DENIED",
	codes.PermissionDenied:  "DENIED",
	codes.Unimplemented:     "UNSUPPORTED",
	codes.ResourceExhausted: "INVALID",
	codes.InvalidArgument:   "INVALID",
}

// errorOfStatus takes the Error among the details of a status, else the best that can be made of its code.
func errorOfStatus(err error) *Error {
	told := status.Convert(err)
	for _, detail := range told.Details() {
		if detail, isOurs := detail.(*pb.Error); isOurs {
			return ErrorOf(detail)
		}
	}
	kind, isKnown := kinds[told.Code()]
	if !isKnown {
		kind = "UNEXPECTED"
	}
	return &Error{Kind: kind, Message: told.Message(), Retryable: kind == "UNAVAILABLE"}
}

func away(message string) *Error {
	return &Error{Kind: "UNAVAILABLE", Message: message, Retryable: true}
}
