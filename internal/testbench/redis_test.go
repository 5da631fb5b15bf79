package testbench

import "testing"

func TestStartRedis(t *testing.T) {
	t.Parallel()
	r := StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	r.Call(t, "SET", "a", "1")
	r.Kill9(t)
	r.Restart(t)
	if got := r.Call(t, "GET", "a"); got != "1" {
		t.Errorf("GET = %v after a restart", got)
	}
}

func TestStartSentinel(t *testing.T) {
	t.Parallel()
	s := StartSentinel(t)
	s.Servers[0].Kill9(t)
	Eventually(t, startTimeout, "the replica to become master", func() bool {
		return s.Servers[1].Info(t, "replication", "role") == "master"
	})
}

func TestStartCluster(t *testing.T) {
	t.Parallel()
	nodes := StartCluster(t, 6)
	if got := nodes[5].Info(t, "replication", "role"); got != "slave" {
		t.Errorf("the last node is a %s", got)
	}
}
