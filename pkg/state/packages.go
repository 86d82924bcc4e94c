package state

import (
	"fmt"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func (x *txn) putPackage(c PutPackage) error {
	p := c.Package
	if err := checkAppID(p.App); err != nil {
		return err
	}
	if p.Name == "" || len(p.Name) > maxName || len(p.Version) > maxName {
		return fmt.Errorf("%w: a package's name and version have 1 to %d bytes", dcos.ErrInvalid, maxName)
	}
	if old, ok := x.t.packages.Get(string(p.App)); ok {
		return fmt.Errorf("%w: package %s %s is installed as app %s already", dcos.ErrConflict, old.Name, old.Version, p.App)
	}
	p.InstalledAt = x.t.time
	put(x, TablePackages, &x.t.packages, string(p.App), &p)
	return nil
}

// subjectOf is what a command was done to, for the audit. Commands that only
// the system gives have no subject.
func subjectOf(c Command) string {
	switch c := c.(type) {
	case PutApp:
		return string(c.App.ID)
	case RestartApp:
		return string(c.App)
	case DeleteApp:
		return string(c.App)
	case RemoveApp:
		return string(c.App)
	case ResetBackoff:
		return string(c.App)
	case AddTasks:
		return string(c.App)
	case CancelDeployment:
		return string(c.ID)
	case AdvanceDeployment:
		return string(c.ID)
	case StopTasks:
		return listed(c.Tasks)
	case LoseTasks:
		return listed(c.Tasks)
	case RetryTasks:
		return listed(c.Tasks)
	case PutGossip:
		return c.Ring.Step.String()
	case PutNode:
		return string(c.Node.ID)
	case SetNodeState:
		return string(c.Node)
	case RemoveNode:
		return string(c.Node)
	case DrainNode:
		return string(c.Node)
	case ActivateNode:
		return string(c.Node)
	case RetireNode:
		return string(c.Node)
	case ReadmitNode:
		return string(c.Node)
	case PutMaster:
		return masterKey(c.Master.ID)
	case RemoveMaster:
		return masterKey(c.ID)
	case StartMaster:
		return masterKey(c.ID)
	case HoldMaster:
		return masterKey(c.ID)
	case PutPackage:
		return string(c.Package.App)
	case RemovePackage:
		return string(c.App)
	case PutUser:
		return c.User.ID
	case RemoveUser:
		return c.ID
	case PutToken:
		return c.Token.ID
	case RemoveToken:
		return c.ID
	case PutRole:
		return string(c.Role)
	case RemoveRole:
		return string(c.Role)
	case PutQuota:
		return string(c.Role)
	case Reserve:
		return string(c.Reservation.ID)
	case Unreserve:
		return string(c.ID)
	case CreateVolume:
		return string(c.Volume.ID)
	case ResizeVolume:
		return string(c.ID)
	case DestroyVolume:
		return string(c.ID)
	case RaiseLevel:
		return fmt.Sprint(c.Level)
	}
	return ""
}

// listed names the first of several tasks.
func listed(ids []dcos.TaskID) string {
	switch len(ids) {
	case 0:
		return ""
	case 1:
		return string(ids[0])
	}
	return fmt.Sprintf("%s and %d more", ids[0], len(ids)-1)
}
