package node

import (
	"context"
	"fmt"
	"time"

	"github.com/dcos-go/dcos/installer"
	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/state"
)

// statusEvery is how often a process looks at itself.
const statusEvery = 100 * time.Millisecond

// tellStatus keeps the line that systemd shows, and tells the user of dev when
// the cluster takes work.
func (p *process) tellStatus(ctx context.Context) error {
	last := ""
	told := p.ready == nil
	for {
		text, healthy := p.statusText()
		if healthy {
			text = installer.Healthy + ": " + text
		}
		if text != last {
			p.notify.status(text)
			p.log.Info("status", "is", text)
			last = text
		}
		if healthy && !told {
			told = true
			if err := p.tellReady(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusEvery):
		}
	}
}

// statusText says in words how far the process has come.
func (p *process) statusText() (text string, healthy bool) {
	healthy = true
	if m := p.master; m != nil {
		lead, _ := m.raft.Leadership()
		_, made := m.raft.View().Cluster()
		switch {
		case lead.Leader == 0 || !made:
			text, healthy = "master waits for a leader", false
		case lead.Leader == m.files.id && !lead.Ready:
			text, healthy = "master takes the lead", false
		case lead.Leader == m.files.id:
			text = "master, leads"
		default:
			text = fmt.Sprintf("master, follows %x", uint64(lead.Leader))
		}
	}
	if p.agent == nil {
		return text, healthy
	}
	if text != "" {
		text += "; "
	}
	if !p.agent.agent.Connected() {
		return text + "agent looks for the leading master", false
	}
	if p.master != nil {
		// Beside a master the row can be seen; elsewhere the session says it.
		if n, ok := p.master.raft.View().Node(p.agent.files.id); !ok || n.State != dcos.NodeActive {
			return text + "agent is being registered", false
		}
	}
	return text + "agent " + string(p.agent.files.id) + " in session", healthy
}

// tellReady gives the user of dev all that is needed to use the cluster.
func (p *process) tellReady() error {
	m := p.master
	v := m.raft.View()
	info, _ := v.Cluster()
	token, err := m.adminToken(v)
	if err != nil {
		return err
	}
	r := Ready{ClusterID: info.ID, ClusterName: info.Name, URL: "http://" + m.api, Token: token, DataDir: p.c.DataDir}
	r.LoginURL = r.URL + "/#/login?token=" + m.gate.LoginLink(adminName)
	if p.agent != nil {
		r.NotEnforced = p.agent.node.NotEnforced
	}
	p.ready(r)
	return nil
}

// adminToken is a bearer token of the first admin, for the same machine's user.
func (m *master) adminToken(v state.View) (string, error) {
	u, ok := v.User(adminName)
	if !ok {
		return "", fmt.Errorf("%w: this cluster has no user %s any more: log in with `dcos auth login`", dcos.ErrNotFound, adminName)
	}
	return m.gate.Issue(u)
}
