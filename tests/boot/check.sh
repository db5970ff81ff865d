# shellcheck shell=sh
# What tests/systemd_boot looks at, by root of a booted systemd. Ends at the first thing that is not as it should be.

name=process-orchestrator
state=/var/lib/$name
settings=/etc/$name
service="/usr/local/bin/$name --service"

step() { echo "ok    $*"; }

# until_so WHAT COMMAND…: waits until the command succeeds.
until_so() {
    what=$1
    shift
    tries=0
    until "$@" >/tmp/said 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { echo "waited in vain until $what"; exit 1; }
        sleep 0.1
    done
    step "$what"
}

journal() { journalctl --no-pager -o cat -u "$name" "$@"; }
is_active() { systemctl is-active --quiet "$name"; }
is_in_journal() { journal | grep -q "$1"; }
has_no_server() { ! [ -e $state/run/.s.PGSQL.5432 ]; }
property() { systemctl show -p "$1" --value "$name"; }

# What there is to see where something is not as it should be.
tell() {
    [ $? -ne 0 ] || return 0
    echo "FAILED after the last step above; what was said last:"
    tail -n 20 /tmp/said 2>/dev/null || true
    systemctl status --no-pager -n 0 "$name" || true
    journalctl --no-pager -o short-precise -n 40 -u "$name" || true
}
trap tell EXIT

# A slim system has none of procps, and what Debian calls kill is part of that.
for program in ps kill pkill pgrep; do rm -f "/usr/bin/$program" "/bin/$program"; done

cd /program || exit
systemctl stop "$name" 2>/dev/null || true
scripts/install --purge 2>/dev/null || true
rm -rf $state $state-root
journalctl --rotate --vacuum-time=1s >/dev/null 2>&1 || true

# A program before this one kept root's cluster where the service's belongs.
PROCESS_ORCHESTRATOR_DATA_DIR=$state ./$name migrate >/dev/null 2>&1
(umask 077 && scripts/install --binary ./$name) >/tmp/installed 2>&1
grep -q "was moved from $state, which is the service's, to $state-root" /tmp/installed
step "root's cluster was moved out of the way"
[ "$(stat -c %a /usr/local/share/bash-completion/completions/$name)" = 644 ]
./$name migrate 2>&1 | grep -q "making a private PostgreSQL" && exit 1
step "root finds its cluster where it lies now"

cat >$settings/process-types/hello.json <<'END'
{ "name": "hello", "description": "", "tasks": [{ "name": "greet", "command": "echo hello" }] }
END
cat >$settings/process-types/long.json <<'END'
{ "name": "long", "description": "", "tasks": [{ "name": "wait", "command": "sleep ${config.seconds}" }] }
END
# A token as a credential, as the guide has it.
echo 0123456789abcdef0123456789abcdef >$settings/token
chmod 600 $settings/token
mkdir -p /etc/systemd/system/$name.service.d
cat >/etc/systemd/system/$name.service.d/token.conf <<'END'
[Service]
LoadCredential=http-token:/etc/process-orchestrator/token
Environment=PROCESS_ORCHESTRATOR_HTTP_TOKEN_FILE=%d/http-token
END
systemctl daemon-reload
systemctl enable --now $name
is_active
step "started: $(property StatusText)"
is_in_journal " ready: node "
[ "$(property StatusText | grep -c 'has not reached')" = 0 ]
[ "$(stat -c %U $state)" = $name ]
[ -z "$(journal -p warning)" ] || {
    echo "warnings at a start without a reason: $(journal -p warning)"
    exit 1
}
step "no warning at the start, with credentials of mode $(stat -c %a /run/credentials/$name.service/http-token 2>/dev/null || echo unknown)"

$service start hello --wait >/tmp/said 2>&1
grep -q COMPLETED /tmp/said
$service logs hello-1 2>/dev/null | grep -q hello
step "--service starts a process and shows what it printed"
./$name list 2>&1 | grep -q hello-1 && exit 1
./$name show hello-1 2>/tmp/said && exit 1
grep -q "sudo $name --service" /tmp/said
step "root's own commands look elsewhere, and say so"

sed -i 's/echo hello/echo again/' $settings/process-types/hello.json
systemctl reload $name
until_so "a reload without the program kill" is_in_journal '"hello" has changed'

$service start long --config seconds=600 --process-id held >/dev/null
until_so "a command runs" sh -c "$service show held | grep -q IN_PROGRESS"
before=$(property MainPID)
systemctl kill --kill-whom=all -s KILL $name 2>/dev/null || systemctl kill --kill-who=all -s KILL $name
until_so "a service that was killed is started again" sh -c "[ \$(systemctl show -p MainPID --value $name) != $before ] && systemctl is-active --quiet $name"
until_so "what it ran is lost and runs again" sh -c "$service show held --json | grep -q '\"attempt\": 2'"
$service cancel held --wait >/dev/null 2>&1

systemctl restart $name
is_active
systemctl stop $name
until_so "a stop ends the private PostgreSQL" has_no_server
[ "$(property Result)" = success ]
is_in_journal '^stopped$'
step "the stop was in order"

$service list >/dev/null
has_no_server
step "--service works while the service rests, and leaves no server"

# Wrong settings: not tried again, and an error in the journal.
echo 'PROCESS_ORCHESTRATOR_EXECUTORS=none' >>$settings/$name.env
systemctl start $name 2>/dev/null && exit 1
[ "$(property ExecMainStatus)" = 2 ]
journal -p err | grep -q "^error: invalid value 'none'"
step "wrong settings are an error in the journal"
sed -i '/EXECUTORS=none/d' $settings/$name.env
$service list >/dev/null

# A database that is away at boot.
echo 'postgresql://nobody@127.0.0.1:1/none' >$settings/database-url
systemctl start --no-block $name
until_so "a database that is away is an error in the journal" sh -c "journalctl --no-pager -o cat -u $name -p err | grep -q '127.0.0.1:1.*refused'"
is_active && exit 1
: >$settings/database-url
until_so "the service starts when it is back" is_active

# Root's live cluster of an older program in the service's state directory: systemd gives it to the service's user.
systemctl stop $name
mv $state $state-kept
mkdir $state
PROCESS_ORCHESTRATOR_DATA_DIR=$state ./$name serve --no-http --executors 1 2>/tmp/roots &
roots=$!
until_so "root's node has its cluster in the state directory" grep -q " ready: node " /tmp/roots
systemctl start --no-block $name
until_so "root's node says whose its files are now" grep -q "was given to $name while the private PostgreSQL ran in it" /tmp/roots
wait $roots
tail -n 1 /tmp/roots | grep -q '^stopped$'
step "and ends in order"
until_so "the service starts once it is gone" is_active
systemctl stop $name
rm -rf $state
mv $state-kept $state
systemctl start $name
[ "$($service show hello-1 --json | grep -c '"COMPLETED"')" -ge 1 ]
step "the service's own processes are all there"
systemctl stop $name
scripts/install --uninstall 2>/dev/null
[ ! -e /usr/local/bin/$name ]
step "uninstalled"
