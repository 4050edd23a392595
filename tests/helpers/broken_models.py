"""Changes of the written model that break a rule of the contract, and the words in which the rule must say so."""

from collections.abc import Callable

from dmm.contract import calling, learning, running, seeing

TANH = "        return torch.tanh(self.head(x))\n"
NEEDS = '    needs = frozenset({"previous_actions"})'
SEES = '{"states": 0, "returns_to_go": 0, "previous_actions": 0}'
HEAD = "        self.head = nn.Linear(config.width, spaces.action_dim)\n"


def method(text: str) -> tuple[str, str]:
    """A change that adds a method at the end of the class."""
    return TANH, f"{TANH}\n    {text}\n"


def layer(text: str) -> tuple[str, str]:
    """A change that adds a line to the end of `__init__`."""
    return HEAD, f"{HEAD}        {text}\n"


CALLS = layer("self.calls = 0")
COUNT = "self.calls += 1"


RECURRENT = [
    (NEEDS, f"{NEEDS}\n    recurrent = True"),
    ("batch: Batch) -> torch", "batch: Batch, state=None) -> torch"),
    (
        "x, _ = self.gru(self.dropout(x * batch.mask.unsqueeze(2)))",
        "x, hidden = self.gru(self.dropout(x), None if state is None else READ)\n        if state is not None: WRITE",
    ),
]


def recurrent(read: str, write: str) -> list[tuple[str, str]]:
    """Changes that make the model recurrent: how it reads its RecurrentState, and how it writes it."""
    return [(old, new.replace("READ", read).replace("WRITE", write)) for old, new in RECURRENT]


BROKEN: list[tuple[Callable, list[tuple[str, str]], list[str]]] = [  # rule, changes of the written model, words
    (
        seeing.the_model_runs_on_what_it_needs,
        [(NEEDS, "    needs = frozenset()")],
        ["reads batch.previous_actions", "needs = frozenset({'previous_actions'})"],
    ),
    (
        seeing.the_model_runs_on_what_it_needs,
        [(NEEDS, '    needs = frozenset({"previous_action"})')],
        ["'previous_action'", "Did you mean 'previous_actions'"],
    ),
    (
        seeing.the_model_runs_on_what_it_needs,
        [(TANH, "        return torch.tanh(self.head(x)), x\n")],
        ["returns a tuple", "defines `loss` and `act`"],
    ),
    (
        seeing.the_model_runs_on_what_it_needs,
        [("self.head(x)", "self.heed(x)")],
        ["The model raised AttributeError at line", "of mine.py", "'heed'"],
    ),
    (
        seeing.every_preset_can_be_built,
        [(NEEDS, f'{NEEDS}\n    presets = {{"wide": {{"widht": 256}}}}')],
        ["preset 'wide'", "Did you mean 'width'"],
    ),
    (
        seeing.shapes_are_right,
        [(HEAD, HEAD.replace("action_dim", "state_dim"))],
        ["`forward` gives actions of shape (4, 6, 5)", "[B K A]", "(4, 6, 3)"],
    ),
    (seeing.shapes_are_right, [("torch.tanh(self.head(x))", "self.head(x) + 2")], ["[-1, 1]", "torch.tanh"]),
    (seeing.shapes_are_right, [("torch.tanh(self.head(x))", "self.head(x) / 0")], ["not finite", "division by zero"]),
    (
        seeing.shapes_are_right,
        [method("def loss(self, pred, batch): return (pred - batch.actions).square().mean((1, 2))")],
        ["The loss is", "of shape (4,)", "masked_mse"],
    ),
    (
        seeing.shapes_are_right,
        [method("def act(self, batch): return self(batch)")],
        ["`act` gives actions of shape (4, 6, 3)", "[B A]", "(4, 3)"],
    ),
    (seeing.rows_do_not_mix, [(", batch_first=True", "")], ["row 1", "other rows", "batch_first=True"]),
    (
        seeing.no_step_sees_the_future,
        [("self.gru(", "self.gru(0.1 * x.flip(1) + ")],
        ["step 0 changes when the state of step 5 changes", "future", "not causal"],
    ),
    (
        seeing.no_step_sees_the_future,
        [("self.embed_actions(batch.previous_actions)", "self.embed_actions(batch.actions)")],
        ["step 0 changes when the action of step 0 changes", "not known yet", "batch.previous_actions"],
    ),
    (
        seeing.every_step_sees_what_the_class_says,
        [(SEES, '{"states": 0, "returns_to_go": 0}')],
        ["`sees` does not name previous_actions", "{..., 'previous_actions': 0}"],
    ),
    (
        seeing.every_step_sees_what_the_class_says,
        [(SEES, SEES.replace('actions": 0', 'actions": 1'))],
        ["`sees` says 'previous_actions': 1", "the previous action of step 0 changes", "write 0"],
    ),
    (
        seeing.every_step_sees_what_the_class_says,
        [("self.gru(", "self.gru(nn.functional.pad(x, (0, 0, 1, -1)) + 0 * ")],
        ["`sees` says 'states': 0", "does not change", "one step too long"],
    ),
    (seeing.every_step_sees_what_the_class_says, [(SEES, '{"stats": 0}')], ["'stats'", "Did you mean 'states'"]),
    (seeing.every_step_sees_what_the_class_says, [(SEES, '{"goals": 0}')], ["`sees` names goals, and `needs` does not"]),
    (
        seeing.padding_is_not_in_the_loss,
        [method("def loss(self, pred, batch): return (pred - batch.actions).square().mean()")],
        ["the batch changes at padded steps", "padding on the left", "batch.mask", "masked_mse"],
    ),
    (
        seeing.padding_is_not_in_the_loss,
        [method("def loss(self, pred, batch): return super().loss(pred, batch) + pred.square().mean()")],
        ["the prediction changes at padded steps"],
    ),
    (
        learning.every_parameter_learns,
        [layer("self.extra = nn.Linear(2, 2)")],
        ["does not depend on extra.bias, extra.weight", "`unused_parameters`"],
    ),
    (
        learning.every_parameter_learns,
        [method('def unused_parameters(self): return ("hed",)')],
        ["names 'hed'", "No parameter"],
    ),
    (
        learning.every_parameter_learns,
        [method('def unused_parameters(self): return ("head",)')],
        ["names head.bias, head.weight", "the loss depends on them"],
    ),
    (
        learning.every_entry_of_a_parameter_learns,
        [("self.head(x)", "self.head(torch.cat([x[..., :-2], 0 * x[..., :2]], 2))")],
        ["6 of the 96 entries of head.weight", "says 0", "{'head.weight': 6}"],
    ),
    (
        learning.every_entry_of_a_parameter_learns,
        [method('def dead_entries(self): return {"hed": 6}')],
        ["names hed", "no such parameter"],
    ),
    (
        learning.the_seed_decides_the_weights,
        [layer("torch.manual_seed(0)\n        for p in self.parameters(): nn.init.normal_(p)")],
        ["Two seeds give the same weights"],
    ),
    (
        learning.the_seed_decides_the_weights,
        [("import torch\n", "import numpy as np\nimport torch\n"), layer("self.head.bias.data.fill_(np.random.rand())")],
        ["head.bias differ between two models of one seed", "torch's global generator"],
    ),
    (
        learning.a_checkpoint_is_the_whole_model,
        [layer("self.mixers = [nn.Linear(config.width, config.width)]"), ("self.head(x)", "self.head(self.mixers[0](x))")],
        ["not in the checkpoint", "nn.ModuleList"],
    ),
    (
        learning.a_checkpoint_holds_everything_once,
        [layer("self.again = self.head")],
        ["again.weight, head.weight are one tensor", "call it twice"],
    ),
    (
        learning.it_memorises_a_batch,
        [("self.gru(self.dropout(x *", "self.gru(self.dropout(0 * x *")],
        ["After 200 updates", "detached tensor"],
    ),
    (
        learning.every_field_of_the_Config_has_an_effect,
        [("        layers: int = 1\n", "        layers: int = 1\n        heads: int = 4\n")],
        ["field heads has no effect", "8 and 5 and 3", "as 4"],
    ),
    (
        learning.acting_fields_leave_the_weights,
        [("width: int = 128", "width: int = acting(128)"), ("import DecisionModel", "import DecisionModel, acting")],
        ["field width is marked by `acting`", "only in `act`"],
    ),
    (
        running.dropout_takes_its_mask_from_the_batch,
        [("self.dropout = Dropout", "self.dropout = nn.Dropout")],
        ["dropout (Dropout)", "dmm.layers.Dropout"],
    ),
    (
        running.dropout_takes_its_mask_from_the_batch,
        [("config.layers, batch_first", "2, dropout=config.dropout, batch_first")],
        ["gru (GRU)", "dmm.layers.Dropout"],
    ),
    (
        running.dropout_takes_its_mask_from_the_batch,
        [("self.head(x)", "self.head(nn.functional.dropout(x, 0.5, self.training))")],
        ["two calls on one batch", "torch.nn.functional.dropout"],
    ),
    (
        running.nothing_draws_random_numbers,
        [("self.head(x)", "self.head(x + 0.1 * torch.randn_like(x))")],
        ["generator of torch out of training", "uniform_samples"],
    ),
    (
        running.nothing_draws_random_numbers,
        [
            ("import torch\n", "import numpy as np\nimport torch\n"),
            ("self.head(x)", "self.head(x) * (np.random.rand() if self.training else 1)"),
        ],
        ["generator of numpy in training"],
    ),
    (
        running.workers_share_a_batch,
        [method("def loss(self, pred, batch): return ((pred - batch.actions).square().mean(2) * batch.mask).sum()")],
        ["Out of training the loss of a batch", "mean over real steps"],
    ),
    (
        running.workers_share_a_batch,
        [layer("self.norm = nn.BatchNorm1d(config.width)"), ("self.head(x)", "self.head(self.norm(x.mT).mT)")],
        ["In training the loss of a batch", "nn.BatchNorm"],
    ),
    (
        running.it_runs_in_bfloat16,
        [(TANH, "        x = self.head(x)\n        return torch.tanh(x / ((x * 0 + 1.001) - 1))\n")],
        ["Under bfloat16 the loss is", "embed_actions.bias", "are not finite", "float32"],
    ),
    (running.steps_equal_the_full_history, recurrent("None", "pass"), ["the action of step 1 differs", "RecurrentState"]),
    (
        running.steps_equal_the_full_history,
        recurrent('state.get("gru")', 'state["gru"] = hidden'),
        ["a tensor of shape (1, 3, 32)", "first axis must be the episodes"],
    ),
    (
        running.it_trains,
        [method("def loss(self, pred, batch): return super().loss(pred, batch) * (float('nan') if self.training else 1)")],
        ["In training the loss is nan", "division by zero"],
    ),
    (
        running.it_acts_in_rollouts,
        [method("def act(self, batch): return super().act(batch) / (batch.mask.sum(1, keepdim=True) - 1)")],
        ["In step 0 of a windowed rollout", "mostly padding"],
    ),
    (
        calling.a_batch_is_left_unchanged,
        [("x, _ = self.gru(self.dropout", "batch.mask[:] = True\n        x, _ = self.gru(self.dropout")],
        ["`forward` writes into batch.mask"],
    ),
    (
        calling.a_batch_is_left_unchanged,
        [method("def act(self, batch): batch.returns_to_go.add_(1); return super().act(batch)")],
        ["`act` writes into batch.returns_to_go"],
    ),
    (
        calling.the_same_call_gives_the_same_answer,
        [CALLS, method(f"def loss(self, pred, batch): {COUNT}; return super().loss(pred, batch) * self.calls")],
        ["Out of training `loss` gives another answer", "a counter"],
    ),
    (
        calling.the_same_call_gives_the_same_answer,
        [CALLS, method(f"def act(self, batch): {COUNT}; return super().act(batch) / (1 + self.calls % 2)")],
        ["`act` gives another answer"],
    ),
    (
        calling.the_same_call_gives_the_same_answer,
        [method("def act(self, batch):\n        with torch.random.fork_rng(): return super().act(batch) * torch.rand(1)")],
        ["`act` gives another answer", "uniform_samples"],
    ),
    (
        calling.the_same_call_gives_the_same_answer,
        [("self.head(x)", "self.head(x) * (torch.rand(1) if self.training else 1)")],
        ["In training `forward` gives another answer"],
    ),
    (
        calling.windows_and_batches_may_have_any_size,
        [(TANH, f"        assert x.shape[1] < 20\n{TANH}")],
        ["With K = 20 and B = 1 the model raised AssertionError at line", "of mine.py"],
    ),
    (
        calling.windows_and_batches_may_have_any_size,
        [("self.head(x)", "self.head(x - x.mean(0) if len(x) > 8 else x)")],
        ["With K = 1 and B = 9 `forward` gives row 0 something else"],
    ),
    (
        calling.windows_and_batches_may_have_any_size,
        [method("def act(self, batch): return super().act(batch).squeeze()")],
        ["With K = 1 and B = 1 `act` gives a tensor of shape (3,)", "squeeze()"],
    ),
    (
        calling.windows_and_batches_may_have_any_size,
        [("self.head(x)", "self.head(x / (1e-9 if x.shape[:2] == (2, 2) else 1) * torch.inf ** (x.shape[:2] == (2, 2)))")],
        ["With K = 2 and B = 2", "finite"],
    ),
    (
        calling.act_reads_no_step_after_the_last_real_one,
        [("x * batch.mask.unsqueeze(2)", "x"), method("def act(self, batch): return self(batch)[:, -1]")],
        ["With padding on the right, `act` changes", "batch.at_last_step"],
    ),
    (
        learning.gradients_are_clipped_once,
        [method("def gradient_clip_groups(self): return ()")],
        ["embed_actions.bias, embed_actions.weight", "not clipped"],
    ),
    (
        learning.gradients_are_clipped_once,
        [method("def gradient_clip_groups(self): return self, nn.Linear(1, 1)")],
        ["not part of the model"],
    ),
    (
        learning.gradients_are_clipped_once,
        [method("def gradient_clip_groups(self): return self, self.head")],
        ["head.bias, head.weight are in two modules"],
    ),
    (learning.gradients_are_clipped_once, [method("def gradient_clip_groups(self): return self.parameters()")], ["a tuple"]),
    (
        seeing.rows_do_not_mix,
        [("self.head(x)", "self.head(x / (1 + batch.steps.max()))")],
        ["row 0 changes when the other rows", "a maximum over rows"],
    ),
    (
        seeing.no_step_sees_the_future,
        [("self.head(x)", "self.head(x / (1 + batch.steps.amax(1)[:, None, None]))")],
        ["step 0 changes when the number of step 5 changes"],
    ),
    (
        seeing.no_step_sees_the_future,
        [("self.head(x)", "self.head(x / batch.mask.sum(1)[:, None, None])")],
        ["step 0 changes when the mask of step 1 changes"],
    ),
    (
        seeing.no_step_sees_the_future,
        [("self.head(x)", "self.head(x + x.flip(1) * self.training)")],
        ["step 0 changes when the state of step 1 changes"],
    ),
    (seeing.the_model_runs_on_what_it_needs, [(TANH, "        return None\n")], ["`forward` returns None", "[B K A]"]),
    (seeing.the_model_runs_on_what_it_needs, [(TANH, "        return {1: x}\n")], ["returns an object of type dict"]),
    (seeing.the_model_runs_on_what_it_needs, [(TANH, "        return x\n")], ["shape (4, 6, 32)", "(4, 6, 3)"]),
    (
        seeing.the_model_runs_on_what_it_needs,
        [(NEEDS, NEEDS.replace("actions", 'actions", "rewards')), (TANH, f"        x = x + batch.rewards[..., None]\n{TANH}")],
        ["`act` reads batch.rewards", "in `loss` only"],
    ),
    (seeing.shapes_are_right, [method("def loss(self, pred, batch): pass")], ["The loss is None"]),
    (seeing.shapes_are_right, [method("def act(self, batch): return self(batch).detach().numpy()")], ["type ndarray"]),
    (running.steps_equal_the_full_history, [(NEEDS, f"{NEEDS}\n    recurrent = True")], ["`forward` takes no state"]),
]  # fmt: skip
