package main

import "github.com/alecthomas/kingpin/v2"

func catalogCommands(app *kingpin.Application, commands map[string]command) {
	all := app.Command("catalog", "Look at the catalog, find what is wrong with it, compare it with another, and bring others' knowledge into it.")
	lintCommand(all, commands)
	diffCommand(all, commands)
	importCommand(all, commands)
	showCommand(all, commands)
}
