package redis

import (
	"testing"

	"callchain/internal/testbench"
)

func TestHowFull(t *testing.T) {
	t.Parallel()
	server := testbench.StartRedis(t)
	s := mustOpen(t, Options{Addrs: []string{server.Addr}})
	if used, err := s.Full(t.Context()); err != nil || used != 0 {
		t.Errorf("without a limit: %v, %v", used, err)
	}
	server.Call(t, "CONFIG", "SET", "maxmemory", "64mb")
	if used, err := s.Full(t.Context()); err != nil || used <= 0 || used > 0.5 {
		t.Errorf("of 64 MB an empty store uses %v, %v", used, err)
	}
	server.Call(t, "CONFIG", "SET", "maxmemory", "1mb")
	if used, err := s.Full(t.Context()); err != nil || used < 0.8 {
		t.Errorf("of 1 MB it uses %v, %v", used, err)
	}
}
