"""Take a person out of the files beside ClickHouse: the journal, the whole originals of dead letters, and the events API's exports.

A line of or about the person is overwritten with blanks where Vector may still have the file open, and left out where the file is
packed. It runs on the host itself, in Perl, which every Debian and Ubuntu has: a journal may have gigabytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.timestamps import text
from cvat_analytics.connect.shell import Shell

# $1 the person's id, $2 the instant, $3 `look` or `erase`, then SHA-256 sums of originals. Prints how many lines there are.
_PROGRAM = r"""
use strict; use warnings;
my ($directory, $id, $before, $what, @sums) = @ARGV;
my %sums = map { $_ => 1 } @sums;
my $count = 0;
sub is_of {
    my ($line) = @_;
    if ($line =~ /"sha256":"([0-9a-f]{64})"/) { return $sums{$1} }
    return 0 unless $line =~ /"timestamp":"([^"]*)"/ && $1 lt $before;
    return 1 if $line =~ /"user_id":$id\b/;
    # texts of which nobody can tell whose they are: of late events they are left out, too
    return 1 if $line =~ /"scope":"(?:delete:comment|update:comment)"/;
    return 1 if $line =~ /"scope":"update:user"/ && $line =~ /"obj_name":"(?:username|email|first_name|last_name)"/;
    return 1 if $line =~ /"obj_id":$id\b/ && $line =~ /"scope":"(?:create|delete):user"|"obj_name":"(?:assignee|owner)"/;
    $line =~ s/\\"/"/g;
    return 1 if $line =~ /"id"\s*:\s*$id\b.{0,2000}?"username"|"username".{0,2000}?"id"\s*:\s*$id\b/;
    return $line =~ /'id'(?:: |, )$id\b.{0,2000}?'username'/;
}
opendir(my $all, $directory) or exit 0;
for my $name (sort grep { /^(?:events|dead-letters)-[0-9T-]+\.jsonl(?:\.gz)?(?:\.zst)?$/ } readdir $all) {
    my $path = "$directory/$name";
    my $tool = $name =~ /\.zst$/ ? "zstd" : $name =~ /\.gz$/ ? "gzip" : "";
    if (!$tool) {
        open(my $file, "+<:raw", $path) or next;
        my $at = 0;
        while (my $line = <$file>) {
            my $length = length $line;
            if (is_of($line)) {
                $count++;
                if ($what eq "erase") {
                    seek($file, $at, 0);
                    print $file (" " x ($length - ($line =~ /\n\z/ ? 1 : 0)));
                    seek($file, $at + $length, 0);
                }
            }
            $at += $length;
        }
        close $file or die "$path: $!\n";
        next;
    }
    open(my $in, "-|", $tool, "-dc", "--", $path) or die "$tool: $!\n";
    my $found = 0;
    while (my $line = <$in>) { $found++ if is_of($line) }
    close $in;
    $count += $found;
    next unless $found && $what eq "erase";
    my $new = "$directory/.$name.new";
    my @stat = stat $path or next;
    open($in, "-|", $tool, "-dc", "--", $path) or die "$tool: $!\n";
    open(my $into, ">:raw", $new) or die "$new: $!\n"; close $into;
    chown $stat[4], $stat[5], $new; chmod $stat[2] & 07777, $new;
    my $pid = open(my $out, "|-");
    if (!$pid) { open(STDOUT, ">", $new) or die "$new: $!\n"; exec($tool, "-c") or die "$tool: $!\n"; }
    binmode $in; binmode $out;
    while (my $line = <$in>) { print $out $line unless is_of($line) }
    close $in or die "$path: cannot be unpacked, nothing of it was changed\n";
    close $out or die "$new: cannot be written, $path is as it was\n";
    utime $stat[8], $stat[9], $new;
    rename($new, $path) or die "$path: $!\n";
}
print "$count\n";
"""
_SUMS_AT_ONCE = 1000


@dataclass(frozen=True)
class Place:
    """A host with files: the journal's directory, and that of the events API's exports; empty where it has none."""

    shell: Shell
    journal: str = ""
    exports: str = ""


def lines(place: Place, id: int, before: datetime, originals: Sequence[str], *, erase: bool) -> int:
    """Return how many lines of the journal are of or about the person; with `erase` they are taken out.

    `originals`: the SHA-256 of dead letters' originals. Raises UnreachableError.
    """
    if not place.journal:
        return 0
    found = 0
    for begin in range(0, max(1, len(originals)), _SUMS_AT_ONCE):
        words = [place.journal, str(id), text(before), "erase" if erase else "look", *originals[begin : begin + _SUMS_AT_ONCE]]  # fmt: skip
        answer = place.shell.run(f"perl -e {shlex.quote(_PROGRAM)} {shlex.join(words)}")
        found += int(answer.strip() or 0) if begin == 0 or erase else 0
    return found


def exports(place: Place, *, remove: bool) -> int:
    """Return how many exports of the events API there are; with `remove` they are gone. Whoever wants one asks for it again."""
    if not place.exports:
        return 0
    directory = shlex.quote(place.exports)
    found = f"find {directory} -mindepth 1 -maxdepth 1 -type d 2>/dev/null"
    count = int(place.shell.run(f"{found} | wc -l").strip() or 0)
    if count and remove:
        place.shell.run(f"{found} -exec rm -rf -- {{}} +")
    return count


def erase(place: Place, id: int, before: datetime, originals: Sequence[str]) -> int:
    """Take the person out of the journal until nothing is found, as an hour may be packed meanwhile. Raises CvatAnalyticsError."""
    total = 0
    for _ in range(5):
        count = lines(place, id, before, originals, erase=True)
        total += count
        if not count:
            return total
    raise CvatAnalyticsError(
        f"{place.journal} on {place.shell.host}: lines come back. Run the same command again"
    )
