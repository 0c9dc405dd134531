"""The sentences in English, by key; every other language has the same keys and fields."""

from __future__ import annotations

from collections.abc import Mapping

MESSAGES: Mapping[str, str] = {
    "verdict.same": "SAME",
    "verdict.different": "DIFFERENT",
    "verdict.incomplete": "INCOMPLETE",
    "verdict": "{verdict}: ",
    "most_likely_first": "{number}, most likely first",
    "headed": "{number}. {name}: {kind}",
    "measured": "{what} differs by {size} of its size",
    "infinitely_many": "infinitely many",
    "alike": "{count} of this operator do the same",
    "and_more": "{names} and {number} more",
    "brief": "{number}. {name} ({details})",
    "compared": "{calls} and {tensors}; {mode}",
    "classic": (
        "the classic fixed thresholds mark {rows} of the table all the same; differing inputs and rounding "
        "explain what is seen there"
    ),
    "lone": "without a counterpart: {npu} of the NPU side, {bench} of the bench side",
    "reason": "{count}: {reason} ({names})",
    "glossary": (
        "1e-3: the difference is a thousandth as long as the bench's tensor (relative L2 error); one operator's "
        "rounding alone gives about 1e-7 in float32, 3e-3 in bfloat16"
    ),
    "written": "Written:",
    "of_call": "{tensor} of {call}",
    "parameter": "parameter {name}",
    "shapes": "shape {npu} on the NPU side and {bench} on the bench side",
    "the_operator": "the operator",
    "the_module": "the module",
    "placed": "{name} ({where})",
    "summary.suspects": "The runs differ. First suspect: {name}, and {more}.",
    "summary.steps_apart": "Nothing is said of it: from step {step} on steps of the two sides hold other work.",
    "summary.suspect": "The runs differ. First suspect: {name}.",
    "summary.no_calls": "No call of one side answers to a call of the other, so nothing was compared.",
    "summary.no_tensors": "No tensor was recorded on both sides in a way that can be compared.",
    "summary.cut": "Nothing suspect in {calls}, but a dump was cut short: {why}",
    "summary.compared": "{calls} compared, none differs by more than rounding explains.",
    "summary.compared_of": "{calls} of {all} compared, none differs by more than rounding explains.",
    "summary.worlds": (
        "Nothing suspect, but only {share:percent} of the results of {npu} rank(s) against {bench} could be put"
        " together and compared."
    ),
    "summary.partial": (
        "Nothing suspect in {calls} of {all}, but that is {share:percent} of them: the others have no counterpart."
    ),
    "summary.missing": "{summary} Not compared: {number} steps or ranks, the first of them: {first}.",
    "summary.pairs": "{number} pairs of dumps. {summary}",
    "summary.blind": (
        "Nothing suspect in {calls}, but in every second call an error of {median} of its result could have gone "
        "unseen."
    ),
    "side.npu": "NPU",
    "side.bench": "Bench",
    "label.suspects": "Suspects",
    "label.kind": "Kind",
    "label.where": "Where",
    "label.source": "In your code",
    "label.happened": "What happened",
    "label.measured": "Measured",
    "label.evidence": "Evidence",
    "label.shape": "Looks like",
    "label.spread": "Spread",
    "label.alike": "Alike",
    "label.next": "Try next",
    "label.compared": "Compared",
    "label.not_compared": "Not compared",
    "label.note": "Note",
    "label.numbers": "The numbers",
    "label.settings": "Settings",
    "place.step": "step {number}",
    "place.rank": "rank {number}",
    "place.module": "module {name}",
    "place.process": "process {number:d}",
    "kind.named": "{kind}: {meaning}",
    "kind.operator": "what it read agrees, what it computed does not",
    "kind.settings": "what it read agrees, but it was called with other settings",
    "kind.before": "the difference is already in what it reads, and no recorded call made it",
    "kind.nan_inf": "NaN or Inf appears here first",
    "kind.optimizer": "the gradients agree, the updated parameters do not",
    "kind.input": "the data or the initial parameters differ from the start",
    "kind.input_later": "the data, or parameters and buffers as this step finds them, differ",
    "kind.input_compiled": "the data, or what compiled code computed, differs",
    "kind.random": "a random operator drew other numbers",
    "kind.structure": "the two runs do not make the same calls in the same order",
    "kind.dtype": "one side computes in a lower precision throughout",
    "measured.none_normal": "{measured} where no difference at all is normal",
    "measured.normal": "{measured} where {expected} is normal",
    "measured.times": "{measured}: {times:times} times as much",
    "measured.written": "what it wrote",
    "alike.named": "{alike}: {names}",
    "brief.differs": "differs by {size}",
    "brief.rest": "and {count}, in the JSON beside this file",
    "mode.tensor": "real data: every element of every tensor",
    "mode.statistics": "statistics: max, min, mean, norm and a sketch",
    "mode.md5": "digests: equal bit by bit or not, not by how much",
    "lone.npu": "without a counterpart: {npu} of the NPU side",
    "lone.bench": "without a counterpart: {bench} of the bench side",
    "reason.rest": "{count} for other reasons; the table names them",
    "one.call": "{number} call",
    "one.tensor": "{number} tensor",
    "one.row": "{number} row",
    "one.operator": "{number} operator",
    "one.suspect": "{number} suspect",
    "one.more suspect": "{number} more suspect",
    "one.result": "{number} result",
    "one.micro-batch": "{number} micro-batch",
    "many.call": "{number} calls",
    "many.tensor": "{number} tensors",
    "many.row": "{number} rows",
    "many.operator": "{number} operators",
    "many.suspect": "{number} suspects",
    "many.more suspect": "{number} more suspects",
    "many.result": "{number} results",
    "many.micro-batch": "{number} micro-batches",
    "happened.input_differs": "{what} differs by {size} of its size before any recorded operator touched it",
    "happened.input_compiled": (
        "{what} differs by {size} of its size; no recorded call made it, code that was compiled may have"
    ),
    "happened.input_not_same": "{what} is not the same before any recorded operator touched it",
    "happened.input_reshaped": "{what} has {shapes}, before any recorded operator touched it",
    "happened.reshaped": "{what} has {shapes}, though all that it read has the same shapes",
    "happened.updated": (
        "the parameters differ by {size} at the start of this step although the step before agreed: the "
        "optimizer's update was another"
    ),
    "happened.moved": (
        "inside {optimizer} the parameter moved otherwise than what came before explains: {what} differs by {size} "
        "where the closure is run again"
    ),
    "happened.steps_apart": "the {side} side made {call}, the {other} side did not: from here on steps hold other work",
    "happened.nonfinite": "{tensor} holds {kind} on the {side} side only, all that {operator} read is finite",
    "happened.nonfinite_counted": (
        "{tensor} holds {kind} on the {side} side only, in {bad} of {all} elements; all that {operator} read is finite"
    ),
    "happened.digest": "everything it read is equal bit by bit, {tensor} is not",
    "happened.drew": "its inputs {agree}, the numbers it drew differ",
    "happened.computed": (
        "its inputs {agree}, but {tensor} differs by {size} of its size: {times:times} times the {expected} that "
        "{source}"
    ),
    "happened.computed_exact": (
        "its inputs {agree}, but {tensor} differs by {size} of its size, where none at all is normal"
    ),
    "happened.overwritten": (
        "{tensor} differs by {size}, though {producer} made it alike on both sides: its memory was overwritten "
        "in between"
    ),
    "happened.since": (
        "{what} differs by {size}: on the {side} side it is no longer what {optimizer} left in the step before, and no "
        "recorded call changed it"
    ),
    "happened.hidden": "its result could not be put together; {tensor} of {call}, computed from it, differs by {size}",
    "happened.unseen": (
        "{tensor} differs by {size} when {call} reads it{before}: an operator that was not recorded{node} made "
        "the difference"
    ),
    "happened.agreed_before": ", while all up to {call} agrees",
    "happened.node": " (autograd node {name})",
    "happened.lowered": "{operators}: one side computes products in a lower precision throughout",
    "happened.update_differs": (
        "the gradient of {parameter} agrees to {gradient}, its update differs by {size} where {expected} is explained"
    ),
    "happened.update_scaled": (
        "the gradient of {parameter} agrees to {gradient}, but along the bench's update its own is {times:.3g} times "
        "as long, which is known to {uncertain}: noise turns an update and does not scale it"
    ),
    "happened.updates_scaled": (
        "the gradients agree as noise leaves them, but along the bench's updates those of this side are {times:.3g} "
        "times as long, taken together, which is known to {uncertain}; {parameter} shows it best (gradient {gradient})"
    ),
    "happened.update_digest": "{parameter} and its gradient are equal bit by bit, the updated {parameter} is not",
    "happened.shifted_norm": (
        "its inputs {agree}, and {tensor} differs by {size} of its size, {allowed}; but its norm is off by "
        "{value}, where {typical} is typical: many elements are off alike"
    ),
    "happened.shifted_mean": (
        "its inputs {agree}, and {tensor} differs by {size} of its size, {allowed}; but its mean is off by "
        "{value} of its root mean square, where {typical} is typical: many elements are off alike"
    ),
    "happened.shifted_max": (
        "its inputs {agree}, and {tensor} differs by {size} of its size, {allowed}; but its maximum is off "
        "by {value}, where {typical} is typical: many elements are off alike"
    ),
    "happened.shifted_min": (
        "its inputs {agree}, and {tensor} differs by {size} of its size, {allowed}; but its minimum is off "
        "by {value}, where {typical} is typical: many elements are off alike"
    ),
    "allowed.rounding": "as rounding may",
    "allowed.peers": "as other calls of {operator} in this run do",
    "agree.equal": "are equal",
    "agree.to": "agree to {size}",
    "source.arithmetic": "they and rounding in {dtype} explain",
    "source.floor": "two bench runs differ by",
    "source.peers": "they and other calls of {operator} in this run explain",
    "evidence.fused": "it was laid against {against}",
    "evidence.one_of_batches": "it is one of {number} micro-batches, {calls}: the other side does not tell which",
    "evidence.counted_as": "with the stages or experts of all ranks in order, as in the table, it is {call}",
    "evidence.sketch": "measured by the sketch and the statistics, which is right within about a third",
    "evidence.bound": "the dump has no sketch: the true difference is at least this large",
    "evidence.reference_npu": (
        "against the reference the NPU side is off by {npu}, the bench by {bench}: the NPU side is further off than "
        "its type explains"
    ),
    "evidence.reference_bench": (
        "against the reference the NPU side is off by {npu}, the bench by {bench}: it is the bench that is further off"
    ),
    "evidence.reference_both": (
        "against the reference both sides are off alike: the NPU side by {npu}, the bench by {bench}"
    ),
    "evidence.reference_unclear": (
        "against the reference the NPU side is off by {npu}, the bench by {bench}: too alike in what was recorded to "
        "say whose the difference is"
    ),
    "evidence.writers": "calls that wrote to that memory: {calls}",
    "evidence.changed_too": "so have changed: {names}",
    "evidence.start": "what differs so: {names}",
    "evidence.reshaped": "not of the same size: {name} has {shapes}",
    "evidence.parted": (
        "parameters differ by up to {size} as this step begins, of which the cause was not recorded: this may follow "
        "from it"
    ),
    "evidence.settings": "called with other settings: {settings}",
    "evidence.setting": "{name} {npu} against {bench}",
    "evidence.given": "given on the {side} side alone: {settings}",
    "evidence.value": "{name} {value}",
    "evidence.lowered": "{calls} of {operators} show it alike",
    "evidence.updates": "{off} of {judged} updates that can be judged are off",
    "evidence.optimizer": "settings differ: {settings}",
    "evidence.group_setting": "{name} {npu} against {bench}",
    "spread.calls": "{touched} of the {later} calls after it carry the difference",
    "spread.over": "{call} spread it to ranks {ranks}",
    "spread.silent": "{calls}; the loss does not show it",
    "spread.loss": "{calls}; it reaches {call} (the loss){size}",
    "spread.as": " as {size}",
    "looks.region_alone": "{where} off, the rest agrees to rounding",
    "looks.region_and_relation": "{where} off, the rest agrees to rounding; what is off {what}",
    "looks.relation_alone": "{tensor} as a whole {what}",
    "looks.spread": "{share:percent} of the elements of {tensor} are off, with no pattern that has a name",
    "looks.all": "nearly all elements of {tensor} are off, with no pattern that has a name",
    "looks.last_columns": "the last {count} of the {extent} columns of {tensor} are",
    "looks.last_column": "the last of the {extent} columns of {tensor} is",
    "looks.last_elements": "the last {count} of the {extent} elements of {tensor} are",
    "looks.last_element": "the last of the {extent} elements of {tensor} is",
    "looks.rows_after": "{tensor} from index {start} on along dimension {axis} (of {extent}) is",
    "looks.channel": "channel (or head) {index} of {extent} of {tensor}, along dimension 1, is",
    "looks.column": "one of the {extent} columns of {tensor}, index {index}, is",
    "looks.row": "one of the {extent} rows of {tensor}, index {index} along dimension {axis}, is",
    "looks.head": (
        "one block of {count} of the {extent} columns of {tensor} (indices {start} to {stop}: one head of {heads}) is"
    ),
    "looks.scattered": "{count} of the {extent} elements of {tensor} are (the first at {first})",
    "looks.scattered_one": "one of the {extent} elements of {tensor} is (at {first})",
    "looks.zero": "is zero on the NPU side",
    "looks.sign": "has its sign flipped",
    "looks.transposed": "is the bench's with dimensions {first} and {second} exchanged",
    "looks.shifted": "is the bench's shifted by {by:+d} along dimension {axis}",
    "looks.permuted": "is the bench's in another order: {count} slices along dimension {axis} have changed places",
    "looks.rounded": "was rounded to {dtype}: every element is a {dtype} number, the nearest to the bench's",
    "looks.computed": "was computed in {dtype}: every element is a {dtype} number, further off than one rounding",
    "looks.factor": "is the bench's times {factor:.6g}",
    "looks.offset": "is the bench's plus {offset:.4g}",
    "looks.sketch_sign": "the sign of every element is flipped (estimated from the sketch)",
    "looks.sketch_factor": "a constant factor of {factor:.6g} (estimated from the sketch)",
    "looks.rounding_size": "the size of rounding to {dtype} (about {unit} of each element)",
    "looks.rounding_other": "float16, TF32 or HF32",
    "looks.update_factor": "the update is {factor:.4g} times the bench's",
    "settings.products": (
        "{what} of float32 ran {npu} on the NPU side and {bench} on the bench, and differ for that alone. Before "
        "you blame an operator, compare like with like: {switch}"
    ),
    "settings.matmul": "matrix products",
    "settings.conv": "convolutions",
    "settings.narrow": "in {type}",
    "settings.full": "in full precision",
    "settings.unknown_type": "in a type that its dump does not tell",
    "settings.saturating": (
        "the NPU side ran with {variable}, which asks for saturation: the largest number in place of Inf, 0 in "
        "place of NaN"
    ),
    "settings.differs": "{name}: {npu} on the NPU side, {bench} on the bench",
    "settings.unset": "not set",
    "settings.on": "on",
    "settings.off": "off",
    "note.simulated_faults": "The {side} side carries faults that were planted in the simulated NPU: {faults}.",
    "note.simulated": "The {side} side ran on a simulated NPU: CPU kernels, no hardware.",
    "note.unmeasured": "{tensors} could not be compared: of other shapes, or not measured.",
    "note.narrowed": (
        "{results} in {npu} on the NPU side, in {bench} on the bench side; rounding to the narrower type is "
        "taken as normal."
    ),
    "note.versions": "torch {npu} on the NPU side, {bench} on the bench.",
    "note.modules_only": "Level L0: modules only. Record at L1 or mix to have the operator named.",
    "note.nan_in_both": (
        "NaN stands in results of {calls} on both sides, the first of them {first}; agreement says nothing of these, "
        "acc nan {dump} says where it begins"
    ),
    "note.itself": "A dump was compared with itself: both paths lead to the same folder.",
    "note.foreign": (
        "One side was recorded by msprobe, whose API calls list other gradients: what backward calls wrote is "
        "shown but not judged."
    ),
    "note.no_sketch": (
        "A dump without sketches: small differences that leave max, min, mean and norm alone stay unseen."
    ),
    "note.two_programs": (
        "These may be two programs: fewer than half of the calls have a counterpart, and the files are {npu} on the "
        "NPU side and {bench} on the bench."
    ),
    "note.parted": (
        "Parameters differ by up to {size} already as the recording begins, at step {step:d}: what parted them came "
        "before, and was not recorded."
    ),
    "note.updated_alone": (
        "At {call} these have a gradient on the {side} side only, and are not updated on the other: {names}."
    ),
    "note.models": (
        "Several models were called. Modules named without a prefix are of the first, of class {first}; prefixes of "
        "the others: {others}."
    ),
    "note.left_out": "The {side} side did not record, with its torch {version}: {text}.",
    "note.missed": "The {side} side has tensors or calls {label}: {text}.",
    "note.laid_against_more": "{calls} of {api} on the {side} side: {fused} was laid against {others}, and so on.",
    "note.laid_against": "{calls} of {api} on the {side} side: {fused} was laid against {others}.",
    "note.renames_nothing": "{source}: {entry} renames nothing in this dump.",
    "note.npu_only": "{place} is on the NPU side only",
    "note.bench_only": "{place} is on the bench side only",
    "note.order": (
        "Ranks lie in another order on the bench, as what they hold and read tells: {number} were compared so, {ranks}."
    ),
    "note.order_rank": "rank {npu} with its rank {bench}",
    "note.reference": (
        "against the reference, of {results}: the NPU side is further off in {npu}, the bench in {bench}, both are "
        "alike in {both}, not to be told in {unclear}"
    ),
    "note.no_reference": "no call of the reference answers to one that was compared: it says nothing",
    "missed.not_recordable": "not recordable",
    "missed.failed": "failed while recording",
    "missed.scripted": "inside scripted code, not seen one by one",
    "missed.compiled": "inside compiled code, not seen one by one",
    "accumulated.no_step": (
        "Micro-batches differ, and no optimizer step was recorded on both sides: nothing says whether they agree."
    ),
    "accumulated.record_the_step": (
        "Record the optimizer's step on both sides, or run both with the same micro-batches."
    ),
    "accumulated.agree": "Accumulated gradients agree to {size} at {call}.",
    "accumulated.differ": "Accumulated gradients differ by up to {size} at {call} ({parameter}).",
    "accumulated.why": (
        "{measured}. Other data, batch statistics or means over micro-batches may explain it; run both sides "
        "with the same micro-batches to have the operator named."
    ),
    "accumulated.size": "{number} accumulated gradients were compared; {parameter} is furthest apart: {size}.",
    "accumulated.compared": "{number} accumulated gradients were compared; {parameter} is furthest apart",
    "alone.part_of_fused": "part of what {call} stands for, which was compared as one call",
    "alone.no_operator": "the {side} side has no call of {what}",
    "alone.other_place": "no call of {what} on the {side} side stands in this place with these shapes",
    "alone.other_number": "the {side} side has {there} of {what}, this side {here}",
    "alone.recomputed": "recomputed for backward (activation checkpointing); the {side} side does not run it again",
    "alone.forward": "its forward call has no counterpart",
    "batches.only": "{what} (gradient accumulation): only accumulated gradients and the optimizer are compared",
    "batches.first": "{what}: the first is compared, and the optimizer",
    "batches.runs": "runs {here} for an optimizer step, the {side} side {there}",
    "batches.this_side": "this side {difference}",
    "batches.npu_side": "The NPU side {difference}.",
    "name.bench": "bench",
    "name.npu": "NPU",
    "cut.early": "{source} was closed before its step ended; {number} calls were read.",
    "cut.by_limit": "{source} was closed by {limit} before its step ended; {number} calls were read.",
    "cut.no_end": "{source} has no end: its recording was killed or still runs. {number} calls were read.",
    "fused.one": "{call} on the {side} side",
    "fused.several": "{calls} on the {side} side, {first} to {last}",
    "row.introduced": "the constant rules pass this row; localisation: error begins here",
    "row.accused": "localisation: a suspect, which the advisor explains",
    "row.explained": "localisation: {role}, what the call read explains it",
    "row.no_match": "this parameter has no match on the bench side",
    "row.no_argument": "the {side} side has no such argument",
    "row.dtype": "dtype differs: {npu} against {bench}",
    "row.shape": "shape differs: {npu} against {bench}",
    "row.requires_grad": "requires_grad differs",
    "row.argument": "argument differs: {npu} against {bench}",
    "row.no_tensor": "one side has a tensor here, the other has none",
    "row.nonfinite": "the {extreme} is {value} on the NPU side only",
    "row.maximum": "maximum",
    "row.minimum": "minimum",
    "row.md5": "digest differs",
    "row.thousandth": "inputs have a one thousandth ratio of {inputs:.3f}, this output of {output:.3f}",
    "row.cosine": "cosine falls from {inputs:.3f} to {output:.3f}",
    "row.norm_rises": "the norm's relative error rises from {inputs:.2e} to {output:.2e}",
    "row.norm_times": "the norm's relative error is {times:.0f} times that of the inputs",
    "role.propagated": "propagated",
    "role.absorbed": "absorbed",
}
