// Package backoff says how long to wait before something is tried again: exponential backoff with full jitter, as in
// "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), equal to that of Tidegate itself.
package backoff

import (
	"math"
	"math/rand/v2"
	"time"
)

// Backoff gives waits between 0 and Initial * Multiplier^(retry-1), at most Max: those that failed together do not come
// back together.
type Backoff struct {
	Initial    time.Duration
	Multiplier float64 // 1 or more
	Max        time.Duration
}

// Default is what the queues of Tidegate have unless they say otherwise.
var Default = Backoff{Initial: time.Second, Multiplier: 2, Max: 15 * time.Minute}

// Delay is the wait before a retry, from 1, in whole milliseconds.
func (b Backoff) Delay(retry uint32) time.Duration {
	return b.DelayOf(retry, rand.Float64())
}

// DelayOf is Delay where the caller draws, from [0, 1).
func (b Backoff) DelayOf(retry uint32, drawn float64) time.Duration {
	growth := math.Min(math.Pow(b.Multiplier, float64(max(retry, 1)-1)), math.MaxFloat64)
	most := math.Min(milliseconds(b.Initial)*growth, milliseconds(b.Max))
	return time.Duration(math.Floor(drawn*most)) * time.Millisecond
}

// VisibilitySeconds is Delay for a visibility timeout of SQS, which has whole seconds: rounded up, at most 12 hours.
func (b Backoff) VisibilitySeconds(retry uint32) int32 {
	return seconds(b.Delay(retry))
}

func seconds(wait time.Duration) int32 {
	return int32(math.Ceil(min(wait, 12*time.Hour).Seconds()))
}

func milliseconds(wait time.Duration) float64 {
	return float64(wait.Nanoseconds()) / 1e6
}
