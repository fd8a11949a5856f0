import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where `npm run dev` finds the service. */
const service = process.env.TUMBLER_URL ?? "http://127.0.0.1:8700";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../ui_dist",
    emptyOutDir: true,
    target: "es2022",
    // Nothing inline: the service sends a content security policy that allows its own files only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": { target: service, changeOrigin: true } } },
});
