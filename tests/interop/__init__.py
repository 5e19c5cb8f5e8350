"""Our rooms against parties that nobody here wrote.

    tests/interop/build.sh                                     the Go programs, into tests/interop/bin
    pytest tests/interop                                       what the machine can do; the rest skips with its reason
    TSNET_REQUIRE_INTEROP=1 pytest tests/interop               nothing skips, 2,000 random cases a test (`.ci/run`)
    TSNET_ORACLE_SEED=515 pytest tests/interop -k filter       one random case again

| files            | the other party                                       | needs              |
|------------------|-------------------------------------------------------|--------------------|
| test_oracle_*    | Tailscale's own packages, function by function        | Go                 |
| test_harness     | Go against Go: the recipes themselves                 | Go, root, TUN      |
| all others       | Headscale, testcontrol, derper, tsnet, wireguard-go   | Go, root, TUN      |

`harness` starts and drives them; `headscale`, `peers` and `wireguard` are three Go modules with their pins.
"""
