package dcos

import (
	"net/http"
	"strconv"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// words are all states that a user can see. Page and command line show the
// same word with the same glyph.
var words = []client.StateWord{
	{Of: "node", Word: "active", Severity: "ok", Meaning: "its agent is connected and takes tasks"},
	{Of: "node", Word: "suspect", Severity: "warn", Meaning: "its agent does not answer; its tasks still count"},
	{Of: "node", Word: "lost", Severity: "bad", Meaning: "its machine is gone, its tasks were lost"},
	{Of: "node", Word: "draining", Severity: "working", Meaning: "its tasks are moved elsewhere, it takes no others"},
	{Of: "node", Word: "drained", Severity: "idle", Meaning: "it takes no tasks and has none left"},
	{Of: "task", Word: "waiting", Severity: "working", Meaning: "wanted, has no node yet"},
	{Of: "task", Word: "placed", Severity: "working", Meaning: "given to a node that has not answered yet"},
	{Of: "task", Word: "staging", Severity: "working", Meaning: "its node fetches what it needs"},
	{Of: "task", Word: "starting", Severity: "working", Meaning: "its container is being made"},
	{Of: "task", Word: "running", Severity: "ok", Meaning: "its process runs"},
	{Of: "task", Word: "unreachable", Severity: "warn", Meaning: "its node is lost; its app lets it wait for it"},
	{Of: "task", Word: "stopping", Severity: "working", Meaning: "was told to end"},
	{Of: "task", Word: "finished", Severity: "idle", Meaning: "ended with exit code 0"},
	{Of: "task", Word: "failed", Severity: "bad", Meaning: "ended otherwise, or could not be started"},
	{Of: "task", Word: "killed", Severity: "idle", Meaning: "ended because it was told to"},
	{Of: "task", Word: "error", Severity: "bad", Meaning: "can never run as it is described"},
	{Of: "task", Word: "lost", Severity: "bad", Meaning: "its machine is gone, or its end is not known"},
	{Of: "service", Word: "running", Severity: "ok", Meaning: "all wanted instances run"},
	{Of: "service", Word: "deploying", Severity: "working", Meaning: "a change is being carried out"},
	{Of: "service", Word: "waiting", Severity: "warn", Meaning: "instances find no place or are held back"},
	{Of: "service", Word: "degraded", Severity: "bad", Meaning: "fewer instances run than are wanted"},
	{Of: "service", Word: "suspended", Severity: "idle", Meaning: "no instance is wanted"},
	{Of: "service", Word: "deleting", Severity: "working", Meaning: "its tasks are being ended"},
}

// glyphs go with severities, so that colour never stands alone.
var glyphs = map[string]string{"ok": "\u25cf", "warn": "\u25b2", "bad": "\u22a0", "working": "\u25d4", "idle": "\u25cb"}

func enums(w http.ResponseWriter, _ *http.Request) error {
	out := make([]client.StateWord, len(words))
	for i, word := range words {
		word.Glyph = glyphs[word.Severity]
		out[i] = word
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{"states": out})
	return nil
}

var taskWords = map[dcos.TaskState]string{
	dcos.TaskWaiting: "waiting", dcos.TaskPlaced: "placed", dcos.TaskStaging: "staging", dcos.TaskStarting: "starting",
	dcos.TaskRunning: "running", dcos.TaskFinished: "finished", dcos.TaskFailed: "failed", dcos.TaskKilled: "killed",
	dcos.TaskError: "error", dcos.TaskLost: "lost",
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// taskWord is a task's state in one word.
func taskWord(k *dcos.Task) string {
	if k.Goal == dcos.GoalStop && !k.State.Terminal() {
		return "stopping"
	}
	if k.Unreachable != 0 {
		return "unreachable"
	}
	return taskWords[k.State]
}
