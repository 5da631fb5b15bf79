package main

import "github.com/alecthomas/kingpin/v2"

func catalogCommands(app *kingpin.Application, commands map[string]command) {
	all := app.Command("catalog", "Look at the catalog, compare it with another, and bring others' knowledge into it.")
	diffCommand(all, commands)
	importCommand(all, commands)
	showCommand(all, commands)
}
