package lint

import (
	"strconv"
	"time"
)

// hours is a length of time as people say it.
func hours(d time.Duration) string {
	switch h := d.Hours(); {
	case d < time.Hour:
		return count(int(d.Minutes()), "minute")
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return count(int(h/24), "day")
	default:
		return count(int(h+0.5), "hour")
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
