"""What every stage minimises, on drawn batches, and the rollout that the student is trained with.

These are the losses of `crates/train`, said once more; `check.py` holds them to the same goldens.

Letters: B samples, K captions, T tokens of a caption, F latent frames, C latent channels, h, w
latent height and width.
"""

import torch

# ---- where frames stand ---------------------------------------------------------------------


def remembered(recipe, shots):
    """The context of the shot after `shots` others of usual length: pairs of shot and frame."""
    budget, length = recipe["context_frames"], recipe["shot_frames"]
    if not shots:
        return []
    share, rest = divmod(budget, shots)
    frames = []
    for shot in range(shots):
        count = share + (shots - rest <= shot)
        # float32 over the frames of the whole story, halves to even: the rule of the method.
        points = torch.linspace(shot * length, (shot + 1) * length - 1, count).round().long()
        frames += [(shot, int(point) - shot * length) for point in points]
    return frames


def place(recipe, shot, frames):
    """(position, phase, caption) of the context and `frames` latent frames, and the captions' shots."""
    budget, past = recipe["context_frames"], remembered(recipe, shot)
    if not past:
        return [(i, 0, 0) for i in range(budget)] + [(budget + i, 1, 0) for i in range(frames)], [shot]
    captions = sorted({s for s, _ in past})
    slots = [(i, s - past[0][0], captions.index(s)) for i, (s, _) in enumerate(past)]
    phase = slots[-1][1] + 1
    return slots + [(budget + i, phase, len(captions)) for i in range(frames)], captions + [shot]


def shot_latents(recipe):
    return 1 + (recipe["shot_frames"] - 1) // recipe["geometry"]["vae_stride"][0]


def noise_levels(recipe):
    """The student's falling levels, from a table of 1000 in float32."""
    plain = torch.linspace(1, 0, 1001)[:-1]
    table = shifted(plain, recipe["shift"])
    return [float(table[1000 - step]) for step in recipe["denoising_steps"]]


def shifted(level, shift):
    return shift * level / (1 + (shift - 1) * level)


# ---- what is minimised ----------------------------------------------------------------------


def column(levels):
    return levels[:, None, None, None, None]


def between(clean, noise, levels):
    return clean + (noise - clean) * column(levels)


def embed(text, tokens):
    """Embeddings `[B, K, T, D]` of ids `[B, K, T]`; no longer than the longest needs to be computed."""
    ids, lengths = tokens
    longest = int(lengths.max())
    made = text(ids.flatten(0, 1)[:, :longest], lengths.flatten())
    return torch.nn.functional.pad(made, (0, 0, 0, ids.shape[-1] - longest)).unflatten(0, ids.shape[:2])


def unguided(model, embeddings, negative):
    """What the unguided branch reads: the negative prompt in place of every caption, or zeros."""
    if negative is None:
        return torch.zeros_like(embeddings)
    ids, lengths = model.words([negative], embeddings.device)
    return embed(model.text, (ids[None], lengths[None])).expand_as(embeddings)


def guided(told, weight, free):
    """Away from what the network says without captions; a weight of 1 does not ask for that."""
    if weight == 1:
        return told
    free = free()
    return free + weight * (told - free)


def velocity(dit, context, noisy, levels, slots, text, chunk=None):
    """Of noisy frames at `levels` `[B, F]` behind clean context, if any; chunks see none later."""
    frames, past = noisy.shape[2], 0 if context is None else context.shape[2]
    clean = levels.new_zeros(len(levels), past)
    whole = noisy if context is None else torch.cat([context, noisy], 2)
    chunks = ([past] if past else []) + [chunk or frames] * (frames // (chunk or frames))
    return dit.run(whole, torch.cat([clean, 1000 * levels], 1), slots, text, chunks=chunks)[0][:, :, past:]


def reconstruction(output, target, weights):
    error = output.float() - target
    axes = (3, 4) if error.shape[2] == 1 else (2, 3, 4)
    loss = weights["absolute"] * error.abs().mean() + weights["squared"] * error.square().mean()
    if weights["differences"] > 0:
        loss = loss + weights["differences"] * sum(error.diff(dim=a).abs().mean() for a in axes)
    return loss


def divergence(mean, log_variance):
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()


def vae_loss(vae, stage, clips, noise):
    mean, log_variance = (x.float() for x in vae.posterior(clips))
    output = vae.decode_raw(mean + (0.5 * log_variance).exp() * noise)
    return reconstruction(output, clips, stage["errors"]) + stage["divergence"] * divergence(mean, log_variance)


def decoder_loss(vae, stage, clips, noise):
    """Of a decoder that learns behind an encoder that does not; `noise` is scaled already."""
    with torch.no_grad():
        latents = vae.encode(clips) + noise
    return reconstruction(vae.decode(latents), clips, stage["errors"])


def teacher_loss(dit, text, batch):
    """Flow matching; `told` is 0 for samples whose text is zeros."""
    clip, noise, levels = batch["clip"], batch["noise"], batch["levels"]
    captions = dit.read(embed(text, batch["tokens"]) * batch["told"][:, None, None, None])
    spread = levels[:, None].expand(-1, clip.shape[2])
    found = velocity(dit, batch["context"], between(clip, noise, levels), spread, batch["slots"], captions)
    return (found - (noise - clip)).square().mean()


def ode_loss(dit, text, batch, chunk):
    """Squared error of the clean estimate; frames that are clean already teach nothing."""
    noisy, levels = batch["noisy"], batch["levels"]
    with torch.no_grad():
        embeddings = embed(text, batch["tokens"])
    found = velocity(dit, batch["context"], noisy, levels, batch["slots"], dit.read(embeddings), chunk)
    error = (noisy - levels[:, None, :, None, None] * found - batch["clean"]).square()
    counts = (levels > 0)[:, None, :, None, None].expand_as(error)
    return (error * counts).sum() / counts.sum()


def roll(dit, recipe, scene, noise, learning=False):
    """A shot `[B, C, F, h, w]` over caches, with as many steps as `noise` `[chunk][step]` has.

    Only the last step of every chunk has a gradient, if any; what is in a cache is a constant.
    """
    context, embeddings, slots = scene["context"], scene["embeddings"], scene["slots"]
    budget, chunk = recipe["context_frames"], recipe["geometry"]["chunk"]
    kept = recipe["window_latent_frames"] // chunk - 1
    levels = noise_levels(recipe)
    last = len(noise[0]) - 1

    def run(latents, level, here, text, memory):
        timesteps = torch.full(latents.shape[:1] + latents.shape[2:3], 1000 * level, device=latents.device)
        return dit.run(latents, timesteps, here, text, memory)

    with torch.no_grad():
        past = run(context, 0.0, slots[:budget], dit.read(embeddings), ())[1]
        text = dit.read(embeddings[:, -1:])
    learnt = dit.read(embeddings[:, -1:]) if learning else text
    local, made = [], []
    for index, steps in enumerate(noise):
        start = budget + index * chunk
        here = [(position, phase, 0) for position, phase, _ in slots[start : start + chunk]]
        memory, latents = [past, *local], steps[0]
        for step in range(last + 1):
            with torch.set_grad_enabled(learning and step == last):
                found, _ = run(latents, levels[step], here, learnt if step == last else text, memory)
                clean = latents - levels[step] * found
            if step < last:
                latents = (1 - levels[step + 1]) * clean + levels[step + 1] * steps[step + 1]
        made.append(clean)
        if index + 1 < len(noise):
            with torch.no_grad():
                local.append(run(clean.detach(), 0.0, here, text, memory)[1])
            local = local[-kept:] if kept else []
    return torch.cat(made, 2)


def direction(critic, teacher, guidance, clip, batch):
    """Where the student's shot should not go, in units of its distance from the teacher's estimate."""
    scene, levels = batch["scene"], batch["levels"]
    noisy = between(clip, batch["noise"], levels)
    spread = levels[:, None].expand(-1, clip.shape[2])

    def estimate(dit, embeddings):
        found = velocity(dit, scene["context"], noisy, spread, scene["slots"], dit.read(embeddings))
        return noisy - column(levels) * found

    likely = estimate(critic, scene["embeddings"])
    wanted = estimate(teacher, scene["embeddings"])
    wanted = guided(wanted, guidance, lambda: estimate(teacher, batch["free"]))
    distance = (clip - wanted).abs().flatten(1).mean(1).clamp_min(torch.finfo(torch.float32).eps)
    return (likely - wanted) / column(distance)


def students_loss(student, critic, teacher, guidance, recipe, batch):
    """Distribution matching: the derivative of this by the shot is the direction over its size."""
    clip = roll(student, recipe, batch["scene"], batch["rollout"], learning=True)
    with torch.no_grad():
        target = clip - direction(critic, teacher, guidance, clip, batch)
    return 0.5 * (clip - target).square().mean()


def critics_loss(student, critic, recipe, batch):
    """Flow matching of the critic on a shot that the student makes now."""
    with torch.no_grad():
        clip = roll(student, recipe, batch["scene"], batch["rollout"])
    scene, levels, noise = batch["scene"], batch["levels"], batch["noise"]
    spread = levels[:, None].expand(-1, clip.shape[2])
    text = critic.read(scene["embeddings"])
    noisy = between(clip, noise, levels)
    found = velocity(critic, scene["context"], noisy, spread, scene["slots"], text)
    return (found - (noise - clip)).square().mean()
