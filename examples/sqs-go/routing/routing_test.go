package routing

import (
	"encoding/json"
	"os"
	"testing"
)

func TestAKeyHasThePartitionThatItHasEverywhere(t *testing.T) {
	text, err := os.ReadFile("../../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Routing []struct {
			Key        string      `json:"key"`
			Partitions [][2]uint32 `json:"partitions"`
		} `json:"routing"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, routed := range vectors.Routing {
		for _, expected := range routed.Partitions {
			compared++
			if is := Partition(routed.Key, expected[0]); is != expected[1] {
				t.Errorf("%q of %d: %d instead of %d", routed.Key, expected[0], is, expected[1])
			}
		}
	}
	if compared <= 600 {
		t.Errorf("only %d were compared", compared)
	}
}
