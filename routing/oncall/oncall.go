package oncall

// Schedule says who is on call at any instant.
type Schedule struct{}
