package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Full is how much of its maxmemory the fullest server uses; 0 where none is set.
func (s *Store) Full(ctx context.Context) (float64, error) {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return 0, fmt.Errorf("find the servers: %w", err)
	}
	most := 0.0
	for _, n := range nodes {
		text, err := n.client.Info(ctx, "memory").Result()
		if err != nil {
			return 0, fmt.Errorf("read the memory of %s: %w", n.addr, err)
		}
		field := func(name string) float64 {
			_, rest, _ := strings.Cut(text, "\r\n"+name+":")
			value, _, _ := strings.Cut(rest, "\r\n")
			v, _ := strconv.ParseFloat(value, 64)
			return v
		}
		if limit := field("maxmemory"); limit > 0 {
			most = max(most, field("used_memory")/limit)
		}
	}
	return most, nil
}
