# %% [markdown]
# # A table: more of the rare class, and its gaps filled
#
# The table is made here, so that the truth is known: customers leave who have a monthly plan and called more than three times. With
# yours, start at `fit`: `df = pd.read_csv("customers.csv")`. In a shell that is `cvae train customers.csv`.

# %%
import numpy as np
import pandas as pd

from keras_cvae import TableCVAE

rng = np.random.default_rng(0)
n = 4000
plan = rng.choice(["monthly", "yearly"], n, p=[0.6, 0.4])
calls = rng.poisson(np.where(plan == "monthly", 3, 1))
unhappy = (plan == "monthly") & (calls > 3)
leaves = rng.random(n) < np.where(unhappy, 0.25, 0.02)
spent = rng.gamma(3, np.where(plan == "monthly", 10, 30)).round(2)
df = pd.DataFrame({"plan": plan, "calls": calls, "spent": spent, "leaves": leaves})
table = TableCVAE(hidden=64, epochs=50, seed=0).fit(df, verbose=0)

# %% [markdown]
# **More of the rare class.** All rows are of it, and none was rejected for it. They have its customers' calls, not everybody's.

# %%
rare, real = table.sample(1000, leaves=True, seed=0), df[df.leaves]
print(f"{len(real)} of {n} real customers leave; {rare.leaves.sum()} of {len(rare)} drawn ones do")
print(
    f"calls: {rare.calls.mean():.2f} drawn, {real.calls.mean():.2f} real, {df.calls.mean():.2f} of all"
)
print(
    f"monthly: {(rare.plan == 'monthly').mean():.0%} drawn, {(real.plan == 'monthly').mean():.0%} real"
)

# %% [markdown]
# A condition may be a range or a set. Who leaves, of those with a monthly plan and many calls? The truth is 25 %.

# %%
asked = table.sample(2000, plan="monthly", calls=(4, None), seed=0)
print(f"{asked.leaves.mean():.0%} leave of those with {asked.calls.min()} calls and more")
print(f"{df.leaves[unhappy].mean():.0%} of the {unhappy.sum()} real ones do")

# %% [markdown]
# **Fill the gaps.** They are drawn given the rest of the row. Ten tables say how sure that is: the plan shows in what was spent.

# %%
gaps = df.copy()
gone = rng.random(n) < 0.2
gaps.loc[gone, "plan"] = None
filled = table.impute(gaps, n=10, seed=0)
share = np.mean([(one.plan == "monthly")[gone] for one in filled], axis=0)
for low, high in ((0.0, 0.1), (0.4, 0.6), (0.9, 1.0)):
    these = (share >= low) & (share <= high)
    true = (plan[gone] == "monthly")[these].mean()
    print(
        f"monthly in {low:.0%} to {high:.0%} of the tables: {true:.0%} of these {these.sum()} are"
    )
