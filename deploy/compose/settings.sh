#!/bin/sh
# Writes what differs between the profiles where every process reads it: settings.sh cluster|small.
#
# Compose can start other services for a profile, but tell those that run in each nothing of it.
set -eu
to=/settings/needs-profile-cluster-or-small.toml
cp "/compose/$1.toml" "$to.new"
# Another seed each time: with the same one a simulator makes message ids that the database knows from the last time.
printf '\n[simulator]\nlisten = 8082\nseed = %s\n' "$(date +%s)" >>"$to.new"
mv "$to.new" "$to"
