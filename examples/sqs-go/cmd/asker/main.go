// Asker asks SQS what it is told to on stdin and answers on stdout: a line each.
//
// A question is {"endpoint": URL, "action": "SendMessage", "members": {...}}. An answer is {"done": {...}},
// {"refused": CODE}, or {"unknown": WHY} where no answer came and what was asked may have been done or not. Each
// question is one request: nothing is asked again.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

type question struct {
	Endpoint string          `json:"endpoint"`
	Action   string          `json:"action"`
	Members  json.RawMessage `json:"members"`
}

// A question is never longer.
const lineBytesMax = 4 << 20

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	once := config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} })
	settings, err := config.LoadDefaultConfig(ctx, once)
	if err != nil {
		return err
	}
	clients := map[string]*sqs.Client{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineBytesMax)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		client, isKnown := clients[asked.Endpoint]
		if !isKnown {
			client = sqs.NewFromConfig(settings, func(o *sqs.Options) { o.BaseEndpoint = &asked.Endpoint })
			clients[asked.Endpoint] = client
		}
		answer, err := ask(ctx, client, asked)
		if err != nil {
			return err
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// ask calls the method that has the action's name.
func ask(ctx context.Context, client *sqs.Client, asked question) (map[string]any, error) {
	method := reflect.ValueOf(client).MethodByName(asked.Action)
	if !method.IsValid() {
		return nil, fmt.Errorf("there is no action %q", asked.Action)
	}
	input := reflect.New(method.Type().In(1).Elem())
	if err := json.Unmarshal(asked.Members, input.Interface()); err != nil {
		return nil, err
	}
	outcome := method.Call([]reflect.Value{reflect.ValueOf(ctx), input})
	if err, failed := outcome[1].Interface().(error); failed {
		return refusal(err), nil
	}
	return map[string]any{"done": outcome[0].Interface()}, nil
}

func refusal(err error) map[string]any {
	var told smithy.APIError
	var response *smithyhttp.ResponseError
	isTold := errors.As(err, &told) && errors.As(err, &response)
	if isTold && response.HTTPStatusCode() < http.StatusInternalServerError {
		return map[string]any{"refused": told.ErrorCode()}
	}
	return map[string]any{"unknown": err.Error()}
}
