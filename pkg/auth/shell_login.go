package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// Gate logs users in and knows them again by their tokens. It may be used by
// many goroutines at once.
type Gate struct {
	secrets func() *Secrets
	now     func() time.Time
	hashing chan struct{} // bounds the passwords being verified, 19 MiB each
	waiting chan struct{} // bounds the logins that wait for that
	nobody  string        // hash that is verified for users who do not exist

	mu    sync.Mutex
	wrong *attempts // guarded by mu; wrong passwords by user and host
	cache verified  // guarded by mu; of the keys in by
	by    *Secrets  // guarded by mu
	once  oneTimes  // guarded by mu
}

// passwordsAtOnce bounds memory and CPU of logins: 2 times 19 MiB. Some 20 ms
// each, so the last of those that wait does so for about a second.
const (
	passwordsAtOnce = 2
	loginsWaiting   = 100
)

// NewGate makes one. now is the clock; nil is time.Now.
func NewGate(secrets func() *Secrets, now func() time.Time) *Gate {
	if now == nil {
		now = time.Now
	}
	var salt [SaltSize]byte
	rand.Read(salt[:]) // never fails
	return &Gate{
		secrets: secrets, now: now, hashing: make(chan struct{}, passwordsAtOnce), waiting: make(chan struct{}, loginsWaiting),
		// No password is this long, so none matches.
		nobody: HashPassword(string(make([]byte, maxPassword+1)), salt[:]),
		wrong:  newAttempts(10, time.Minute, 8192),
		cache:  verified{max: 8192},
		once:   oneTimes{},
	}
}

var errLogin = fmt.Errorf("%w: wrong user or password", dcos.ErrUnauthenticated)

// Login verifies a password and gives a bearer token. host limits guessing
// together with the user's id. It waits for its turn as long as ctx allows.
func (g *Gate) Login(ctx context.Context, users Users, uid, password, host string) (string, error) {
	if len(uid) > maxUserID {
		return "", errLogin
	}
	key := uid + "\x00" + host
	u, ok := users.User(uid)
	hash := g.nobody // as much work as for a user who exists
	if ok && u.PasswordHash != "" {
		hash = u.PasswordHash
	}
	if err := g.attempt(ctx, key, hash, password); err != nil {
		return "", fmt.Errorf("log in %s: %w", uid, err)
	}
	if !ok || u.PasswordHash == "" {
		return "", errLogin // unreachable: nobody's hash fits no password
	}
	return g.Issue(u)
}

// attempt verifies one password, one of few at a time. Wrong ones are counted
// before the next is let in, so that guesses in parallel are limited too.
func (g *Gate) attempt(ctx context.Context, key, hash, password string) error {
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return fmt.Errorf("%w: too many logins at once, try again", dcos.ErrExhausted)
	}
	select {
	case g.hashing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: too many logins at once, try again: %w", dcos.ErrUnavailable, ctx.Err())
	}
	defer func() { <-g.hashing }()
	g.mu.Lock()
	err := g.wrong.check(key, g.now())
	g.mu.Unlock()
	if err != nil {
		return err
	}
	right, err := verifyPassword(hash, password)
	if err != nil || right {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong.miss(key, g.now())
	return errLogin
}

// Issue gives a bearer token to a user who was proven in another way.
func (g *Gate) Issue(u *dcos.User) (string, error) {
	return IssueBearer(g.secrets(), u, g.now(), BearerLife)
}

// Authenticate says who a bearer token stands for. The signature is verified
// once per token; whether the user still exists and the token was not revoked
// (the user's generation) is asked of users at every call.
func (g *Gate) Authenticate(users Users, token string) (Principal, error) {
	if token == "" {
		return Principal{}, fmt.Errorf("%w: no token; run `dcos auth login`", dcos.ErrUnauthenticated)
	}
	now, secrets := g.now(), g.secrets()
	key := sha256.Sum256([]byte(token))
	g.mu.Lock()
	if g.by != secrets { // a key may have been taken away
		g.by, g.cache = secrets, verified{max: g.cache.max}
	}
	b, ok := g.cache.get(key)
	g.mu.Unlock()
	if !ok {
		var err error
		if b, err = verifyBearer(secrets, token, now); err != nil {
			return Principal{}, err
		}
		g.mu.Lock()
		if g.by == secrets {
			g.cache.put(key, b)
		}
		g.mu.Unlock()
	}
	return b.principal(users, now)
}

// LoginLink makes a token that logs a user in once, within a few minutes, at
// this process only: what `dcos dev` prints as part of a URL.
func (g *Gate) LoginLink(uid string) string {
	token := rand.Text() + rand.Text()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.once.put(sha256.Sum256([]byte(token)), uid, g.now())
	return token
}

// Redeem exchanges such a token for a bearer token. It works once.
func (g *Gate) Redeem(users Users, token string) (string, error) {
	g.mu.Lock()
	uid, ok := g.once.take(sha256.Sum256([]byte(token)), g.now())
	g.mu.Unlock()
	if !ok {
		return "", fmt.Errorf("%w: the login link was used already or is too old; log in with user and password", dcos.ErrUnauthenticated)
	}
	u, ok := users.User(uid)
	if !ok {
		return "", errBearer
	}
	return g.Issue(u)
}
