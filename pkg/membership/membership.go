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
	"context"
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
	// KeyringFile keeps the keys that SetKeys or FetchKeys brought. "" keeps
	// them in memory only.
	KeyringFile string
	// FetchKeys asks a master for the keys and the number of the change that
	// they came with, over a connection that proves who asks. It is called when
	// masters say that the keys have changed, and when nobody can be reached.
	// Where it is nil, somebody calls SetKeys.
	FetchKeys func(ctx context.Context) (keys [][]byte, serial uint64, err error)
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
	// Ring is which gossip keys a master says that the cluster has.
	Ring Ring
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
	tagRing    = "k" // of masters: which keys the cluster has
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

// memberOf reads what another machine says of itself. What makes no sense or is
// too long reads as nothing.
func memberOf(m serf.Member) Member {
	hex := func(s string) uint64 { n, _ := strconv.ParseUint(s, 16, 64); return n }
	tag := func(k string) string {
		if v := m.Tags[k]; plain(v) {
			return v
		}
		return ""
	}
	out := Member{
		Name: m.Name, Node: dcos.NodeID(tag(tagNode)), Master: dcos.MasterID(hex(tag(tagMaster))),
		Version: tag(tagVersion), API: tag(tagAPI), Peer: tag(tagPeer),
		Region: tag(tagRegion), Zone: tag(tagZone), Leads: dcos.Term(hex(tag(tagLeads))), Ring: parseRing(tag(tagRing)),
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
	// Keys come by SetKeys and FetchKeys. What may answer a query is too short
	// to hold a key, so that whoever has an old one is not told the new one.
	out.QueryResponseSizeLimit, out.QuerySizeLimit, out.UserEventSizeLimit = maxAnswer, maxQuery, maxQuery
	out.EventBuffer, out.QueryBuffer = 64, 64
	out.MaxQueueDepth, out.QueueCheckInterval = maxQueue, queueCheck
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
