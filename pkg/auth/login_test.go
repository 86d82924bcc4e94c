package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dcos-go/dcos/pkg/dcos"
)

const password = "correct horse battery"

// hashed once: each hash costs 19 MiB and, with the race detector, a while.
var hashed = sync.OnceValue(func() string { return HashPassword(password, make([]byte, SaltSize)) })

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time      { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }
func (r rows) addUser(id string) *dcos.User {
	u := &dcos.User{ID: id, PasswordHash: hashed(), Grants: grants("/app", "read")}
	r.users[id] = u
	return u
}

func newGate(t *testing.T) (*Gate, rows, *clock, *Secrets) {
	t.Helper()
	s, c := newSecrets(t, "c1", epoch, &counter{}), &clock{now: epoch}
	return NewGate(func() *Secrets { return s }, c.Now), newRows(), c, s
}

func TestPasswordIsVerifiedAgainstItsHash(t *testing.T) {
	t.Parallel()
	for try, want := range map[string]bool{password: true, password + "x": false, "": false, strings.Repeat("x", maxPassword+1): false} {
		if got, err := verifyPassword(hashed(), try); got != want || err != nil {
			t.Errorf("verify %.30q = %v, %v, want %v", try, got, err, want)
		}
	}
	if !strings.HasPrefix(hashed(), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash is %s", hashed())
	}
}

func TestStoredHashesAreBounded(t *testing.T) {
	t.Parallel()
	good := strings.Split(hashed(), "$")
	with := func(i int, s string) string {
		p := append([]string(nil), good...)
		p[i] = s
		return strings.Join(p, "$")
	}
	for _, bad := range []string{
		"", "$", "x" + hashed(), hashed() + "$", with(1, "argon2i"), with(2, "v=16"), with(3, "m=65537,t=2,p=1"), with(3, "m=19456,t=9,p=1"),
		with(3, "m=19456,t=2,p=5"), with(3, "m=0,t=2,p=1"), with(3, "m=19456,t=2"), with(3, "m=-1,t=2,p=1"), with(3, "t=2,m=19456,p=1"),
		with(4, "AA"), with(4, "!"), with(5, "AAAA"), with(5, strings.Repeat("A", 400)),
	} {
		if _, err := parsePHC(bad); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("parsePHC(%q) = %v, want ErrInvalid", bad, err)
		}
	}
}

func TestNewUsersKeepTheRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ id, password string }{
		{"", password},
		{"system", password},
		{"a:b", password},
		{"-a", password},
		{"a b", password},
		{"a/b", password},
		{strings.Repeat("a", 97), password},
		{"eve", "short"},
		{"eve", strings.Repeat("x", 257)},
		{"eve", "bad utf-8 \xff\xff\xff"},
	} {
		if _, err := NewUser(tt.id, tt.password, nil, &counter{}); !errors.Is(err, dcos.ErrInvalid) {
			t.Errorf("NewUser(%.20q, %.20q) = %v, want ErrInvalid", tt.id, tt.password, err)
		} else if strings.Contains(err.Error(), tt.password) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if _, err := NewUser("eve@example.com", password, grants("x"), &counter{}); !errors.Is(err, dcos.ErrInvalid) {
		t.Errorf("user with a bad grant: %v", err)
	}
}

func TestFirstAdministratorMayDoEverything(t *testing.T) {
	t.Parallel()
	admin, pw, err := NewAdmin(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := verifyPassword(admin.PasswordHash, pw); !ok || err != nil || len(pw) != 24 {
		t.Errorf("password %d characters, verified %v, %v", len(pw), ok, err)
	}
	if err := Allow(UserPrincipal(&admin), Permission{"/anything", ActionWrite}); err != nil {
		t.Error(err)
	}
}

func TestLoginGivesATokenThatIsKnownAgain(t *testing.T) {
	t.Parallel()
	g, r, _, _ := newGate(t)
	u := r.addUser("eve")
	tok, err := g.Login(t.Context(), r, "eve", password, "h1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from the cache
		p, err := g.Authenticate(r, tok)
		if err != nil || p.ID != "eve" || p.Kind != KindUser || len(p.Grants) != 1 {
			t.Fatalf("Authenticate = %+v, %v", p, err)
		}
	}
	// What changes in the state holds at once, in spite of the cache.
	v2 := *u
	v2.Grants = nil
	r.users["eve"] = &v2
	if p, err := g.Authenticate(r, tok); err != nil || len(p.Grants) != 0 {
		t.Errorf("grants taken away: %+v, %v", p, err)
	}
	v3 := *u
	v3.Generation++
	r.users["eve"] = &v3
	if _, err := g.Authenticate(r, tok); !errors.Is(err, dcos.ErrUnauthenticated) {
		t.Errorf("revoked token: %v", err)
	}
	delete(r.users, "eve")
	if _, err := g.Authenticate(r, tok); !errors.Is(err, dcos.ErrUnauthenticated) {
		t.Errorf("token of a removed user: %v", err)
	}
}

func TestTokenEndsAlsoInTheCache(t *testing.T) {
	t.Parallel()
	g, r, c, _ := newGate(t)
	tok, err := g.Issue(r.addUser("eve"))
	if err != nil {
		t.Fatal(err)
	}
	c.add(BearerLife - time.Second)
	if _, err := g.Authenticate(r, tok); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	c.add(leeway + 2*time.Second)
	if _, err := g.Authenticate(r, tok); !errors.Is(err, dcos.ErrUnauthenticated) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its end, cached: %v", err)
	}
	fresh, _, _, _ := newGate(t)
	fresh.now = c.Now
	if _, err := fresh.Authenticate(r, tok); !errors.Is(err, dcos.ErrUnauthenticated) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its end, not cached: %v", err)
	}
}

func TestTokensOfATakenAwayKeyAreVoid(t *testing.T) {
	t.Parallel()
	old, other := newSecrets(t, "c1", epoch, &counter{}), newSecrets(t, "c1", epoch, &counter{n: 900})
	both := &Secrets{CA: old.CA, Signing: append(other.Signing, old.Signing...), Gossip: old.Gossip}
	gone := &Secrets{CA: old.CA, Signing: other.Signing, Gossip: old.Gossip}
	now, c, r := old, &clock{now: epoch}, newRows()
	g := NewGate(func() *Secrets { return now }, c.Now)
	tok, err := g.Issue(r.addUser("eve"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		s  *Secrets
		ok bool
	}{{old, true}, {both, true}, {gone, false}} {
		now = tt.s
		if _, err := g.Authenticate(r, tok); (err == nil) != tt.ok {
			t.Errorf("Authenticate = %v, want ok %v", err, tt.ok)
		}
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	g, r, _, s := newGate(t)
	u := r.addUser("eve")
	good, err := g.Issue(u)
	if err != nil {
		t.Fatal(err)
	}
	kid := func() string { h := decodePart(t, good, 0); return h["kid"].(string) }()
	sign := func(m jwt.SigningMethod, key any, change func(*claims)) string {
		c := claims{UID: "eve", RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{"c1"}, ExpiresAt: jwt.NewNumericDate(epoch.Add(time.Hour)), IssuedAt: jwt.NewNumericDate(epoch),
		}}
		change(&c)
		tk := jwt.NewWithClaims(m, c)
		tk.Header["kid"] = kid
		text, err := tk.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	same := func(*claims) {}
	ed := jwt.SigningMethodEdDSA
	if _, err := g.Authenticate(r, sign(ed, s.Signing[0], same)); err != nil {
		t.Fatalf("the well-formed token of this test is refused: %v", err)
	}
	parts := strings.Split(good, ".")
	elsewhere := newSecrets(t, "c2", epoch, &counter{})
	foreign, _ := IssueBearer(elsewhere, u, epoch, time.Hour)
	for name, tok := range map[string]string{
		"empty": "", "junk": "junk", "dots": "..", "too long": strings.Repeat("a", maxBearer+1),
		"alg none":             sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"public key as HMAC":   sign(jwt.SigningMethodHS256, []byte(s.Signing[0].Public().(ed25519.PublicKey)), same),
		"other key":            sign(ed, newSecrets(t, "c1", epoch, &counter{n: 700}).Signing[0], same),
		"no signature":         parts[0] + "." + parts[1] + ".",
		"signature of another": parts[0] + "." + decoy(parts[1]) + "." + parts[2],
		"no end":               sign(ed, s.Signing[0], func(c *claims) { c.ExpiresAt = nil }),
		"ended":                sign(ed, s.Signing[0], func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(epoch.Add(-time.Hour)) }),
		"issued in future":     sign(ed, s.Signing[0], func(c *claims) { c.IssuedAt = jwt.NewNumericDate(epoch.Add(time.Hour)) }),
		"other audience":       sign(ed, s.Signing[0], func(c *claims) { c.Audience = jwt.ClaimStrings{"c2"} }),
		"no audience":          sign(ed, s.Signing[0], func(c *claims) { c.Audience = nil }),
		"other issuer":         sign(ed, s.Signing[0], func(c *claims) { c.Issuer = "x" }),
		"no user":              sign(ed, s.Signing[0], func(c *claims) { c.UID = "" }),
		"unknown user":         sign(ed, s.Signing[0], func(c *claims) { c.UID = "mallory" }),
		"other generation":     sign(ed, s.Signing[0], func(c *claims) { c.Gen = 1 }),
		"another cluster's":    foreign,
	} {
		if p, err := g.Authenticate(r, tok); !errors.Is(err, dcos.ErrUnauthenticated) {
			t.Errorf("%s: %+v, %v, want ErrUnauthenticated", name, p, err)
		}
	}
}

func decodePart(t *testing.T, token string, i int) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// decoy is the claims part with another user.
func decoy(part string) string {
	b, _ := base64.RawURLEncoding.DecodeString(part)
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(b), "eve", "bob", 1)))
}

func TestTokenHasTheClaimThatDCOSReads(t *testing.T) {
	t.Parallel()
	g, r, _, _ := newGate(t)
	tok, err := g.Issue(r.addUser("eve"))
	if err != nil {
		t.Fatal(err)
	}
	if got := decodePart(t, tok, 1); got["uid"] != "eve" || got["exp"] == nil {
		t.Errorf("claims = %v, want uid and exp", got)
	}
	if got := decodePart(t, tok, 0); got["alg"] != "EdDSA" {
		t.Errorf("header = %v", got)
	}
}

func TestWrongLoginsLookAlikeAndAreLimited(t *testing.T) {
	t.Parallel()
	g, r, c, _ := newGate(t)
	r.addUser("eve")
	r.users["svc"] = &dcos.User{ID: "svc"} // without a password
	for _, tt := range []struct{ uid, password string }{{"eve", "wrong password"}, {"nobody", password}, {"svc", ""}, {"svc", password}} {
		if _, err := g.Login(t.Context(), r, tt.uid, tt.password, "h0"); !errors.Is(err, errLogin) {
			t.Errorf("login %s: %v, want the one answer", tt.uid, err)
		}
	}
	var wg sync.WaitGroup
	for range 12 { // in parallel too
		wg.Go(func() {
			if _, err := g.Login(t.Context(), r, "eve", "wrong password", "h1"); err == nil {
				t.Error("logged in with a wrong password")
			}
		})
	}
	wg.Wait()
	if _, err := g.Login(t.Context(), r, "eve", password, "h1"); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("after many wrong passwords: %v, want ErrExhausted", err)
	}
	if _, err := g.Login(t.Context(), r, "eve", password, "h2"); err != nil {
		t.Errorf("from another host: %v", err)
	}
	c.add(time.Minute)
	if _, err := g.Login(t.Context(), r, "eve", password, "h1"); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestLoginsWaitForTheirTurnOnlyAsLongAsTheyMay(t *testing.T) {
	t.Parallel()
	g, r, _, _ := newGate(t)
	r.addUser("eve")
	for range passwordsAtOnce {
		g.hashing <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Login(ctx, r, "eve", password, "h"); !errors.Is(err, dcos.ErrUnavailable) {
		t.Errorf("login with all places taken: %v, want ErrUnavailable", err)
	}
	for range loginsWaiting {
		g.waiting <- struct{}{}
	}
	if _, err := g.Login(t.Context(), r, "eve", password, "h"); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("login with all waiting places taken: %v, want ErrExhausted", err)
	}
}

func TestLoginLinkWorksOnceAndSoon(t *testing.T) {
	t.Parallel()
	g, r, c, _ := newGate(t)
	r.addUser(AdminID)
	link := g.LoginLink(AdminID)
	tok, err := g.Redeem(r, link)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := g.Authenticate(r, tok); err != nil || p.ID != AdminID {
		t.Errorf("Authenticate = %+v, %v", p, err)
	}
	late := g.LoginLink(AdminID)
	c.add(linkLife)
	ghost := g.LoginLink("ghost")
	for name, l := range map[string]string{"used": link, "late": late, "made up": "x", "empty": "", "no such user": ghost} {
		if _, err := g.Redeem(r, l); !errors.Is(err, dcos.ErrUnauthenticated) {
			t.Errorf("%s link: %v, want ErrUnauthenticated", name, err)
		}
	}
	first := g.LoginLink(AdminID)
	for range maxLinks {
		g.LoginLink(AdminID)
	}
	if len(g.once.links) != maxLinks {
		t.Errorf("%d links are kept, want %d", len(g.once.links), maxLinks)
	}
	if _, err := g.Redeem(r, first); err == nil {
		t.Error("the oldest of too many links still works")
	}
}

func TestCacheOfTokensIsBounded(t *testing.T) {
	t.Parallel()
	v := verified{max: 10}
	hash := func(i int) tokenHash { return tokenHash{byte(i), byte(i >> 8)} }
	v.put(hash(0), bearer{user: "kept"})
	for i := 1; i < 1000; i++ {
		v.put(hash(i), bearer{})
		if b, ok := v.get(hash(0)); !ok || b.user != "kept" {
			t.Fatalf("a token in steady use was forgotten after %d others", i)
		}
		if n := len(v.young) + len(v.old); n > 10 {
			t.Fatalf("%d tokens are kept, want at most 10", n)
		}
	}
	if _, ok := v.get(hash(1)); ok {
		t.Error("an old token that nobody uses is kept")
	}
}

func TestAttemptsAreForgottenWithTimeAndBounded(t *testing.T) {
	t.Parallel()
	a := newAttempts(2, time.Minute, 3)
	now := epoch
	for range 2 {
		a.miss("x", now)
	}
	if err := a.check("x", now); !errors.Is(err, dcos.ErrExhausted) {
		t.Errorf("after two misses: %v", err)
	}
	for i, k := range []string{"a", "b", "c", "d"} {
		a.miss(k, now.Add(time.Duration(i+1)*time.Second))
	}
	if len(a.wrong) != 3 || a.check("x", now) != nil {
		t.Errorf("%d keys are kept, want 3 and the oldest forgotten", len(a.wrong))
	}
	a.miss("d", now.Add(5*time.Second))
	if a.check("d", now.Add(10*time.Second)) == nil || a.check("d", now.Add(64*time.Second)) != nil {
		t.Error("a key waits for the rest of its window and no longer")
	}
}

func TestAuthorizationHeaderInBothForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header, want string
		ok           bool
	}{
		{"", "", true},
		{"token=", "", true},
		{"token=abc", "abc", true},
		{"Bearer abc", "abc", true},
		{"bearer  abc ", "abc", true},
		{"Basic abc", "", false},
		{"abc", "", false},
		{"Bearer", "", false},
	} {
		got, err := FromHeader(tt.header)
		if got != tt.want || (err == nil) != tt.ok || !tt.ok && !errors.Is(err, dcos.ErrUnauthenticated) {
			t.Errorf("FromHeader(%q) = %q, %v, want %q, ok %v", tt.header, got, err, tt.want, tt.ok)
		}
	}
}
