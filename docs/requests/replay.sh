#!/usr/bin/env bash
# What 3D Slicer and OHIF send, replayed with curl against a running server; stops at the first answer that is wrong.
#
#   docs/requests/replay.sh URL IMAGE LABEL I J K
#   docs/requests/replay.sh http://127.0.0.1:8000 case01 liver 210 180 42
#
# IMAGE is the name of a volume (or a SeriesInstanceUID), LABEL one of the server's labels, and I J K a voxel on the
# object, at least 4 voxels from the edges along I and J. A label with the tag "replay" is saved and removed again.
set -euo pipefail
[ $# -eq 6 ] || { echo "usage: $0 URL IMAGE LABEL I J K" >&2; exit 2; }
url=${1%/} image=$2 label=$3 i=$4 j=$5 k=$6
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# expect STATUS NAME curl-arguments...: send, keep the answer in $out/NAME
expect() {
    local status=$1 name=$2 found
    shift 2
    found=$(curl --silent --show-error --output "$out/$name" --write-out '%{http_code}' "$@")
    if [ "$found" != "$status" ]; then
        echo "$name: expected $status, got $found: $(head -c 500 "$out/$name")" >&2
        exit 1
    fi
    echo "$name: $found"
}

# infer MODEL OUTPUT PARAMS: the arguments of a click
infer() {
    echo "$url/infer/$1?image=$image&output=$2"
}

# 1. Connect: 3D Slicer and OHIF read the models and their options.
expect 200 info "$url/info/"
grep -q '"type":"deepgrow"' "$out/info"

# 2. 3D Slicer downloads a volume that it does not have.
expect 200 volume "$url/datastore/image?image=$image"

# 3. A first positive click in 3D Slicer, model adaptiveclick_2d. All points of the slice come with each click.
first="{\"label\": \"$label\", \"foreground\": [[$i, $j, $k]], \"background\": [], \"candidate\": \"\", \"slice\": $k,
        \"result_extension\": \".nrrd\", \"result_dtype\": \"uint8\", \"client_id\": \"user-xyz\"}"
expect 200 first.nrrd --form-string "params=$first" "$(infer adaptiveclick_2d image)"
grep -aq "space: left-posterior-superior" "$out/first.nrrd"

# 4. A negative click, then it is taken back: the answer is the first one, bit by bit.
second="{\"label\": \"$label\", \"foreground\": [[$i, $j, $k]], \"background\": [[$((i + 4)), $((j + 4)), $k]],
         \"candidate\": \"\", \"slice\": $k, \"result_extension\": \".nrrd\", \"result_dtype\": \"uint8\"}"
expect 200 second.nrrd --form-string "params=$second" "$(infer adaptiveclick_2d image)"
expect 200 undone.nrrd --form-string "params=$first" "$(infer adaptiveclick_2d image)"
cmp "$out/first.nrrd" "$out/undone.nrrd"

# 5. The same click as OHIF sends it: no slice, no label, an answer that is not compressed.
ohif="{\"foreground\": [[$i, $j, $k]], \"background\": [], \"result_extension\": \".nrrd\", \"result_dtype\": \"uint8\",
       \"result_compress\": false, \"restore_label_idx\": false}"
expect 200 ohif.nrrd --form-string "params=$ohif" "$(infer adaptiveclick_2d image)"
grep -aq "encoding: raw" "$out/ohif.nrrd"

# 6. What is known of the answer: candidates with their confidence, seconds by part.
expect 200 answer.json --form-string "params=$first" "$(infer adaptiveclick_2d json)"
grep -q '"latencies"' "$out/answer.json"

# 7. The object carried to at most three slices on either side, model adaptiveclick_3d.
carried="{\"label\": \"$label\", \"foreground\": [[$i, $j, $k]], \"background\": [], \"direction\": \"both\", \"until\": 3}"
expect 200 carried.json --form-string "params=$carried" "$(infer adaptiveclick_3d json)"
grep -q '"stops"' "$out/carried.json"

# 8. Submit a label, fetch it, remove it.
expect 200 saved.json --request PUT "$url/datastore/label?image=$image&tag=replay" \
    --form-string "params={\"label_info\": [{\"name\": \"$label\", \"idx\": 1}]}" --form "label=@$out/first.nrrd;filename=label.nrrd"
expect 200 label "$url/datastore/label?label=$image&tag=replay"
expect 200 removed --request DELETE "$url/datastore/label?id=$image&tag=replay"

# 9. What is wrong gets an answer that says why.
far="{\"foreground\": [[99999, 0, 0]], \"background\": []}"
expect 422 outside --form-string "params=$far" "$(infer adaptiveclick_2d json)"
expect 400 malformed --form-string "params={\"foreground\": [[$i" "$(infer adaptiveclick_2d json)"
expect 404 unknown --form-string "params=$first" "$url/infer/adaptiveclick_2d?image=no-such-image"
expect 422 label_name --form-string "params={\"foreground\": [[$i, $j, $k]], \"label\": \"no such label\"}" \
    "$(infer adaptiveclick_2d json)"
echo "All answers are as they should be."
