#!/bin/sh
# What every task of the chaos runs. It journals its own start and end in one file for each process, and holds a
# lock on that file for its life, children included: whoever finds the lock taken has found two commands of one
# process alive at once. Each line is one write to a file opened for appending, so their order is what happened.
#
#   command.sh JOURNALS BEHAVIOUR TIMES PAUSE BYTES
#
# BEHAVIOUR is ok, fail:CODE or hang; it misbehaves the first TIMES times that this task is begun, and is ok after.
journal=$1/$PROCESS_ID behaviour=$2 times=$3 pause=$4 bytes=$5
me="$TASK_INDEX $TASK_ATTEMPT $$"

# note WORD: the time is the machine's uptime, read without starting another program.
note() {
    read -r now _ </proc/uptime
    printf '%s %s %s %s\n' "$1" "$me" "$now" "$2" >>"$journal"
}

note START "$PROCESS_ORCHESTRATOR_NODE"
exec 9>>"$journal"
flock -n 9 || {
    # The last command may have been killed a moment ago, and its children be about to die.
    note WAITS -
    flock -w 1 9 || note OVERLAP -
}

begun=0
while read -r word index attempt pid _; do
    [ "$word $index" = "START $TASK_INDEX" ] || continue
    begun=$((begun + 1))
    [ "$attempt $pid" != "$TASK_ATTEMPT $$" ] || break
done <"$journal"

code=0
if [ "$begun" -le "$times" ]; then
    case $behaviour in
    fail:*) code=${behaviour#fail:} ;;
    hang) sleep 600 ;;
    esac
fi
[ "$pause" = 0 ] || sleep "$pause"
[ "$bytes" = 0 ] || head -c "$bytes" /dev/zero | tr '\0' x
echo "task$TASK_INDEX=$TASK_ATTEMPT" >"$PROCESS_CONTEXT_FILE"
note END "$code"
exit "$code"
