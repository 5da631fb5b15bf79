// Package sim holds the simulation of whole daemons: engines that share a store,
// Alertmanagers that repeat themselves, people who answer or do not, channels and
// stores that fail, and a nemesis that kills, stops and reloads, all of it in one
// bubble of virtual time. Everything that is not decided by the engine is drawn
// from a seed, so that a run that breaks a promise can be run again.
//
// It has tests only. docs/reliability.md says what is simulated, which promises
// are checked, and how to repeat a run.
package sim
