// Package routing answers, for one alert at one instant: what is affected, who
// owns it in which role, whom to wake next and when, and what risk the answer
// reveals about ownership.
//
// It is pure: a Router is compiled once from the configuration and the catalog
// and never changes; Route and Chain are functions of it, their arguments and a
// given instant. The package imports neither clock, network, logger nor store.
//
//	catalog/  services, teams, people, roles, states: the ownership policy
//	oncall/   who covers instant t of a schedule
//	suggest/  rules that would bring more alerts to a service
package routing
