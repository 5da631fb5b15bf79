//go:build !faultpoints

package fault

// Here is a place at which nothing happens.
func Here(string) {}
