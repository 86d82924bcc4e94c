// Package membership says which machines of the cluster are there, by gossip.
//
// It owns the serf member of this process: its keys, its tags, what it hears
// of others. It promises that every packet is encrypted and proven with the
// cluster's key from the first on, that machines of another cluster are not
// taken in, and that nobody who is slow or hostile can make it queue without
// bound. What it says is a hint, seconds old and possibly wrong: it must not
// be used to decide who votes, which task is lost or who leads. Sessions and
// raft decide that.
package membership

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Config is what this machine says of itself and how it gossips.
type Config struct {
	Cluster string
	Node    dcos.NodeID   // "" when it is no agent
	Master  dcos.MasterID // 0 when it is no master
	Version string        // of the binary
	API     string        // a master's API, host:port
	Peer    string        // a master's mTLS port, host:port
	Region  string
	Zone    string

	Bind string // host:port, TCP and UDP; port 0 takes a free one
	// Advertise is the address that others use when it is not Bind's.
	Advertise string
	// Keys are the cluster's gossip keys; the first encrypts. They are used
	// when KeyringFile does not exist yet.
	Keys [][]byte
	// KeyringFile keeps the keys, with changes that arrived by gossip. "" keeps
	// them in memory only.
	KeyringFile string
	// Seeds are gossip addresses of other members; they are asked for again
	// and again while this machine knows nobody.
	Seeds func() []string
	Log   *slog.Logger // nil: none

	tune func(*serf.Config) // in tests
}

// State is what gossip holds of a member.
type State uint8

// The states of a member.
const (
	Alive State = iota + 1
	Failed
	Left
)

var stateNames = [...]string{"", "alive", "failed", "left"}

// String is the word for logs.
func (s State) String() string { return stateNames[s] }

// Member is a machine as gossip knows it.
type Member struct {
	Name    string // unique in the cluster
	Node    dcos.NodeID
	Master  dcos.MasterID
	Version string
	API     string
	Peer    string
	Region  string
	Zone    string
	Gossip  netip.AddrPort
	State   State
	// Leads is the term in which the member says it leads; 0 for never. Of
	// several the highest is the newest.
	Leads dcos.Term
}

// IsMaster says that it is a raft member or about to become one.
func (m Member) IsMaster() bool { return m.Master != 0 }

// IsAgent says that it runs tasks.
func (m Member) IsAgent() bool { return m.Node != "" }

// Leader is the living master that says it leads in the highest term.
func Leader(members []Member) (Member, bool) {
	var out Member
	for _, m := range members {
		if m.State == Alive && m.IsMaster() && m.Leads > out.Leads {
			out = m
		}
	}
	return out, out.Leads != 0
}

// The keys of tags are short because all tags of a member share 512 bytes.
const (
	tagCluster = "c"
	tagNode    = "n"
	tagMaster  = "m"
	tagVersion = "v"
	tagAPI     = "a"
	tagPeer    = "p"
	tagRegion  = "r"
	tagZone    = "z"
	tagLeads   = "l"
)

// maxTag bounds one tag, so that all of them fit.
const maxTag = 64

func (c Config) name() string {
	if c.Node != "" {
		return string(c.Node)
	}
	return fmt.Sprintf("master-%016x", uint64(c.Master))
}

func (c Config) tags() (map[string]string, error) {
	if c.Cluster == "" || c.Node == "" && c.Master == 0 {
		return nil, fmt.Errorf("%w: gossip needs a cluster id and the id of a node or master", dcos.ErrInvalid)
	}
	out := map[string]string{}
	for k, v := range map[string]string{
		tagCluster: c.Cluster, tagNode: string(c.Node), tagVersion: c.Version, tagAPI: c.API,
		tagPeer: c.Peer, tagRegion: c.Region, tagZone: c.Zone,
	} {
		if len(v) > maxTag {
			return nil, fmt.Errorf("%w: %.20q... is too long to be gossiped: %d bytes, at most %d", dcos.ErrInvalid, v, len(v), maxTag)
		}
		if v != "" {
			out[k] = v
		}
	}
	if c.Master != 0 {
		out[tagMaster] = strconv.FormatUint(uint64(c.Master), 16)
	}
	return out, nil
}

// memberOf reads what another machine says of itself. A number that makes no
// sense reads as 0.
func memberOf(m serf.Member) Member {
	hex := func(s string) uint64 { n, _ := strconv.ParseUint(s, 16, 64); return n }
	out := Member{
		Name: m.Name, Node: dcos.NodeID(m.Tags[tagNode]), Master: dcos.MasterID(hex(m.Tags[tagMaster])),
		Version: m.Tags[tagVersion], API: m.Tags[tagAPI], Peer: m.Tags[tagPeer],
		Region: m.Tags[tagRegion], Zone: m.Tags[tagZone], Leads: dcos.Term(hex(m.Tags[tagLeads])),
	}
	if ip, ok := netip.AddrFromSlice(m.Addr); ok {
		out.Gossip = netip.AddrPortFrom(ip.Unmap(), m.Port)
	}
	switch m.Status {
	case serf.StatusAlive:
		out.State = Alive
	case serf.StatusFailed:
		out.State = Failed
	default:
		out.State = Left
	}
	return out
}

func sortMembers(ms []Member) {
	slices.SortFunc(ms, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
}

// sameCluster refuses members of other clusters: at a join, and for every
// member that is heard of.
type sameCluster string

// NotifyMerge implements serf.MergeDelegate.
func (c sameCluster) NotifyMerge(ms []*serf.Member) error {
	for _, m := range ms {
		if got := m.Tags[tagCluster]; got != string(c) {
			return fmt.Errorf("%w: member %.64q is of cluster %.64q, this is cluster %s", dcos.ErrConflict, m.Name, got, string(c))
		}
	}
	return nil
}

// serfConfig is serf's configuration for ours.
func (c Config) serfConfig(keyring *memberlist.Keyring) (*serf.Config, error) {
	tags, err := c.tags()
	if err != nil {
		return nil, err
	}
	ml := memberlist.DefaultLANConfig()
	ml.Keyring = keyring
	ml.GossipVerifyIncoming, ml.GossipVerifyOutgoing = true, true
	ml.EnableCompression = false // packets are small, and inflating them is one decoder more
	ml.TCPTimeout = joinTimeout
	ml.DeadNodeReclaimTime = reclaim
	ml.HandoffQueueDepth = 1024
	if ml.BindAddr, ml.BindPort, err = hostPort(c.Bind); err != nil {
		return nil, err
	}
	ml.AdvertisePort = ml.BindPort
	if c.Advertise != "" {
		if ml.AdvertiseAddr, ml.AdvertisePort, err = hostPort(c.Advertise); err != nil {
			return nil, err
		}
	}
	out := serf.DefaultConfig()
	out.NodeName = c.name()
	out.Tags = tags
	out.MemberlistConfig = ml
	out.DisableCoordinates = true
	// A name that two machines claim stays with the older one. Gossip ends
	// nobody: the sessions refuse the second machine (boot nonce).
	out.EnableNameConflictResolution = false
	out.Merge = sameCluster(c.Cluster)
	out.KeyringFile = c.KeyringFile
	out.EventBuffer, out.QueryBuffer = 64, 64
	out.MaxQueueDepth = maxQueue
	out.BroadcastTimeout = leaveTimeout
	out.LeavePropagateDelay = leaveDelay
	out.ReconnectInterval = reconnect
	return out, nil
}

func hostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	n, perr := strconv.ParseUint(port, 10, 16)
	// The library takes a name for "all addresses".
	if ip, ierr := netip.ParseAddr(host); err != nil || perr != nil || ierr != nil || ip.Zone() != "" {
		return "", 0, fmt.Errorf("%w: gossip address %q: expected IP:port", dcos.ErrInvalid, addr)
	}
	return host, int(n), nil
}
