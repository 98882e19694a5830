// The consumer as a long-lived caller, for the scenarios in which providers die and return: it does what its input says, a line each,
// and answers each with one line of JSON.
//
//	greet WORD       one call: {"code", "message", "answer"}
//	load A_SECOND    begins greets of "who" at that rate; `seen` and `stop`: {"codes", "who", "first"} since the last, in all
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	tri "dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"
)

type tally struct {
	Codes map[string]int `json:"codes"`
	Who   map[string]int `json:"who"`
	First string         `json:"first,omitempty"`
}

func newTally() *tally { return &tally{Codes: map[string]int{}, Who: map[string]int{}} }

func (t *tally) add(who string, err error) {
	t.Codes[strconv.Itoa(code(err))]++
	if err == nil {
		t.Who[who]++
	} else if t.First == "" {
		t.First = err.Error()
	}
}

func code(err error) int {
	if err == nil {
		return 0
	}
	return int(tri.CodeOf(err))
}

// told is a consumer with the load that runs.
type told struct {
	consumer
	lock        sync.Mutex // of the tallies
	total, last *tally
	end         chan struct{} // closed by `stop`; nil: no load
	calls       sync.WaitGroup
}

func (t *told) once(word string) (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	return t.greet(ctx, word)
}

func (t *told) load(aSecond int) {
	t.total, t.last, t.end = newTally(), newTally(), make(chan struct{})
	end, tick := t.end, time.NewTicker(time.Second/time.Duration(aSecond))
	t.calls.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			t.calls.Go(func() {
				who, err := t.once("who")
				t.lock.Lock()
				defer t.lock.Unlock()
				t.total.add(who, err)
				t.last.add(who, err)
			})
		}
	})
}

func (t *told) obey(line string) (any, error) {
	name, rest, _ := strings.Cut(line, " ")
	switch {
	case name == "greet":
		answer, err := t.once(rest)
		message := ""
		if err != nil {
			message = err.Error()
		}
		return map[string]any{"code": code(err), "message": message, "answer": answer}, nil
	case name == "load" && t.end == nil:
		n, err := strconv.Atoi(rest)
		if err == nil && n > 0 {
			t.load(n)
			return "started", nil
		}
	case name == "seen" && t.end != nil:
		t.lock.Lock()
		defer t.lock.Unlock()
		last := t.last
		t.last = newTally()
		return last, nil
	case name == "stop" && t.end != nil:
		close(t.end)
		t.end = nil
		t.calls.Wait()
		return t.total, nil
	}
	return nil, fmt.Errorf("not understood, or not now: %q", line)
}

func obeyAll(c consumer, in io.Reader, out io.Writer) {
	t, lines, answers := &told{consumer: c}, bufio.NewScanner(in), json.NewEncoder(out)
	for lines.Scan() {
		answer, err := t.obey(lines.Text())
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			return
		}
	}
}
