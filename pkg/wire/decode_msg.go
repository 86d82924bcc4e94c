package wire

import "github.com/dcos-go/dcos/pkg/dcos"

// body reads the message that one field of the envelope holds; nil for a kind
// that this version does not know.
func (d *decoder) body(f field) (Msg, error) {
	switch f.num {
	case numHello:
		return d.hello(f)
	case numWelcome:
		return d.welcome(f)
	case numRedirect:
		var m Redirect
		err := d.each(f.b, func(f field) error {
			if f.num == 1 {
				return set(&m.Leader, f)
			}
			return nil
		})
		return m, err
	case numRefused:
		return d.refused(f)
	case numAssign:
		return d.assign(f)
	case numReport:
		return d.report(f)
	case numAck:
		var m Ack
		err := d.each(f.b, func(f field) error {
			if f.num != 1 {
				return nil
			}
			return d.uints(f, func(v uint64) error { m.Seqs = append(m.Seqs, v); return nil })
		})
		return m, err
	case numBeat:
		return d.beat(f)
	case numBeatAck:
		var m BeatAck
		err := d.each(f.b, func(f field) error {
			switch f.num {
			case 1:
				m.N = f.u
			case 2:
				m.BeatMillis = int64(f.u)
			case 3:
				m.Lease = f.u
			}
			return nil
		})
		return m, err
	case numProbeAsk:
		return d.probeAsk(f)
	case numProbeAnswer:
		var m ProbeAnswer
		err := d.each(f.b, func(f field) error {
			switch f.num {
			case 1:
				m.ID = f.u
			case 2:
				m.Alive = f.u != 0
			}
			return nil
		})
		return m, err
	case numBye:
		return Bye{}, d.each(f.b, func(field) error { return nil })
	}
	return nil, nil
}

func (d *decoder) hello(f field) (Msg, error) {
	var m Hello
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return small(&m.Versions.Min, f)
		case 2:
			return small(&m.Versions.Max, f)
		case 3:
			return d.node(&m.Node, f)
		case 4:
			return set(&m.Cluster, f)
		case 5:
			m.Term = dcos.Term(f.u)
		case 6:
			m.Seq = f.u
		case 7:
			return d.refs(&m.Tasks, f)
		case 8:
			m.Fences = f.u != 0
		case 50:
			m.Fetches = f.u != 0
		}
		return nil
	})
	return m, err
}

func (d *decoder) welcome(f field) (Msg, error) {
	var m Welcome
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return small(&m.Version, f)
		case 2:
			m.Term = dcos.Term(f.u)
		case 3:
			m.BeatMillis = int64(f.u)
		case 4:
			m.Level = f.u
		}
		return nil
	})
	return m, err
}

func (d *decoder) refused(f field) (Msg, error) {
	var m Refused
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			return set(&m.Why, f)
		case 2:
			m.RetryMillis = int64(f.u)
		case 3:
			m.Removed = f.u != 0
		}
		return nil
	})
	return m, err
}

func (d *decoder) assign(f field) (Msg, error) {
	var m Assign
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			m.Term = dcos.Term(f.u)
		case 2:
			m.Seq = f.u
		case 3:
			m.Full = f.u != 0
		case 4:
			if err := d.count(); err != nil {
				return err
			}
			var l dcos.Launch
			err := d.launch(&l, f)
			m.Run = append(m.Run, l)
			return err
		case 5:
			return d.refs(&m.Keep, f)
		case 6:
			return d.refs(&m.Stop, f)
		case 7:
			m.Hash = f.u
		}
		return nil
	})
	return m, err
}

func (d *decoder) report(f field) (Msg, error) {
	var m Report
	err := d.each(f.b, func(f field) error {
		if f.num != 1 {
			return nil
		}
		if err := d.count(); err != nil {
			return err
		}
		var s dcos.Status
		err := d.status(&s, f)
		m.Statuses = append(m.Statuses, s)
		return err
	})
	return m, err
}

func (d *decoder) beat(f field) (Msg, error) {
	var m Beat
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			m.N = f.u
		case 2:
			m.Term = dcos.Term(f.u)
		case 3:
			m.Seq = f.u
		case 4:
			m.Hash = f.u
		case 5:
			return d.usage(&m.Usage, f)
		}
		return nil
	})
	return m, err
}

func (d *decoder) usage(u *Usage, f field) error {
	to := [...]*int64{&u.CPUMilli, &u.MemBytes, &u.DiskBytes, &u.Tasks, &u.MemTotal, &u.DiskTotal, &u.LoadMilli}
	return d.each(f.b, func(f field) error {
		if i := int(f.num) - 1; i < len(to) {
			*to[i] = int64(f.u)
		}
		return nil
	})
}

func (d *decoder) probeAsk(f field) (Msg, error) {
	var m ProbeAsk
	err := d.each(f.b, func(f field) error {
		switch f.num {
		case 1:
			m.ID = f.u
		case 2:
			return set(&m.Target, f)
		}
		return nil
	})
	return m, err
}
