package backoff

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

func TestAWaitIsAsLongAsItIsEverywhere(t *testing.T) {
	text, err := os.ReadFile("../../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Backoff []struct {
			InitialMs  int64        `json:"initial_ms"`
			Multiplier float64      `json:"multiplier"`
			MaxMs      int64        `json:"max_ms"`
			DelaysMs   [][3]float64 `json:"delays_ms"`
		} `json:"backoff"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, policy := range vectors.Backoff {
		initial, most := time.Duration(policy.InitialMs), time.Duration(policy.MaxMs)
		backoff := Backoff{initial * time.Millisecond, policy.Multiplier, most * time.Millisecond}
		for _, expected := range policy.DelaysMs {
			compared++
			is := backoff.DelayOf(uint32(expected[0]), expected[1])
			if is != time.Duration(expected[2])*time.Millisecond {
				t.Errorf("%v at %v: %v instead of %v ms", backoff, expected[:2], is, expected[2])
			}
		}
	}
	if compared <= 700 {
		t.Errorf("only %d were compared", compared)
	}
}

func TestAVisibilityTimeoutIsInWholeSecondsThatSQSAllows(t *testing.T) {
	waits := map[time.Duration]int32{0: 0, time.Millisecond: 1, 5 * time.Second: 5, 30 * time.Hour: 43_200}
	for wait, expected := range waits {
		if is := seconds(wait); is != expected {
			t.Errorf("%v: %d instead of %d", wait, is, expected)
		}
	}
}
